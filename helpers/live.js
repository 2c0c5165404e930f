// The two parts of a panel that Jupyter has no widget for: an image that is exchanged in place, and a choice of images.
const LARGEST = 8e6; // bytes of an upload: the server closes the connection at a message of 10 MB

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function liveImage({ model, el }) {
  const image = element("img", { alt: model.get("description"), className: "atelier-image" });
  let address = null;
  function show() {
    const data = model.get("data");
    const old = address;
    image.hidden = !data?.byteLength;
    if (!image.hidden) image.src = address = URL.createObjectURL(new Blob([data], { type: model.get("kind") }));
    if (old) URL.revokeObjectURL(old);
  }
  model.on("change:data", show);
  show();
  el.append(image);
  return () => address && URL.revokeObjectURL(address);
}

function imageChoice({ model, el }) {
  const label = model.get("description");
  const group = element("div", { className: "atelier-choice", role: "radiogroup", ariaLabel: label });
  const problem = element("div", { className: "atelier-problem", role: "alert" });
  const name = `atelier-${Math.random()}`; // the radio buttons of one group share a name
  const file = element("input", { type: "file", accept: "image/*", ariaLabel: `Upload an image: ${label}` });
  const upload = element("label", { className: "atelier-upload", title: "Upload an image of your own" }, "Upload…", file);

  function draw() {
    const choices = model.get("images").map(([title, source]) => {
      const radio = element("input", { type: "radio", name, value: title });
      radio.dataset.lmSuppressShortcuts = true; // else JupyterLab takes the arrow keys
      radio.onchange = () => {
        model.set("value", title);
        model.save_changes();
      };
      return element("label", { title }, radio, element("img", { src: source, alt: title }));
    });
    group.replaceChildren(element("span", { className: "atelier-label" }, label), ...choices, upload);
    choose();
  }
  function choose() { // the buttons stay where they are, and so does the keyboard's focus
    for (const radio of group.querySelectorAll("[type=radio]")) radio.checked = radio.value === model.get("value");
  }
  function complain(text) {
    problem.textContent = text;
  }
  file.onchange = async () => {
    const [chosen] = file.files;
    if (chosen && chosen.size > LARGEST) {
      complain(`${chosen.name} has ${(chosen.size / 1e6).toFixed(1)} MB; make it smaller than ${LARGEST / 1e6} MB first.`);
    } else if (chosen) {
      model.send({ upload: chosen.name }, undefined, [await chosen.arrayBuffer()]);
    }
    file.value = "";
  };
  model.on("change:images", draw);
  model.on("change:value", choose);
  model.on("change:problem", () => complain(model.get("problem")));
  draw();
  el.append(group, problem);
}

export default { render: (view) => (view.model.get("images") ? imageChoice : liveImage)(view) };
