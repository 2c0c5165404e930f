// Thumbnails as a group of radio buttons, and a button that uploads another picture.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const group = element("div", { className: "atelier-pictures", role: "radiogroup", ariaLabel: model.get("label") });
  const problem = element("div", { className: "atelier-problem", role: "alert" });
  const name = `atelier-${Math.random()}`; // the radio buttons of one group share a name

  function draw() {
    const chosen = model.get("value");
    const choices = model.get("pictures").map(([title, source]) => {
      const radio = element("input", { type: "radio", name, value: title, checked: title === chosen });
      radio.onchange = () => {
        model.set("value", title);
        model.save_changes();
      };
      return element("label", { title }, radio, element("img", { src: source, alt: title }));
    });
    group.replaceChildren(element("b", {}, model.get("label")), ...choices, upload);
  }

  const file = element("input", { type: "file", accept: "image/*", ariaLabel: `Upload a picture: ${model.get("label")}` });
  const upload = element("label", { className: "atelier-upload", title: "Upload a picture of yours" }, "Upload…", file);
  file.onchange = async () => {
    const [picture] = file.files;
    if (!picture) return;
    const most = model.get("largest");
    if (picture.size > most) {
      const megabytes = (picture.size / 1e6).toFixed(1);
      model.set("problem", `${picture.name} has ${megabytes} MB; at most ${most / 1e6} MB can be uploaded. Make it smaller first.`);
      model.save_changes();
    } else {
      model.send({ upload: picture.name }, undefined, [await picture.arrayBuffer()]);
    }
    file.value = "";
  };

  const complain = () => (problem.textContent = model.get("problem"));
  model.on("change:pictures", draw);
  model.on("change:value", draw);
  model.on("change:problem", complain);
  draw();
  complain();
  el.append(group, problem);
}

export default { render };
