// A picture that is exchanged in place; an empty one is not shown.
function render({ model, el }) {
  const image = Object.assign(document.createElement("img"), { alt: model.get("alt"), className: "atelier-picture" });
  let address = null;

  function show() {
    const data = model.get("value");
    const old = address;
    image.hidden = !data?.byteLength;
    if (!image.hidden) image.src = address = URL.createObjectURL(new Blob([data], { type: model.get("kind") }));
    if (old) URL.revokeObjectURL(old);
  }

  model.on("change:value", show);
  show();
  el.append(image);
  return () => address && URL.revokeObjectURL(address);
}

export default { render };
