// A black square to draw on with mouse, pen or finger, and what the network makes of it while it is drawn.
const SIDE = 280, PEN = 22, SENT = 112, SEEN = 28, EVERY = 100; // pixels; pixels of what is sent, seen; milliseconds

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function square(side, label, className) {
  return element("canvas", { width: side, height: side, role: "img", ariaLabel: label, className });
}

function render({ model, el }) {
  const canvas = square(SIDE, "Draw a digit here, with mouse, pen or finger", "atelier-canvas");
  const seen = square(SEEN, "what the network sees", "atelier-seen");
  const pen = canvas.getContext("2d"), small = square(SENT).getContext("2d", { willReadFrequently: true });
  const clear = element("button", { textContent: "Clear", className: "jupyter-button" });
  const bars = element("div", { className: "atelier-bars", role: "list", ariaLabel: "probabilities" });
  let timer = null;

  function wipe() {
    pen.fillStyle = "black";
    pen.fillRect(0, 0, SIDE, SIDE);
    Object.assign(pen, { strokeStyle: "white", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  }
  function send() {
    timer = null;
    small.drawImage(canvas, 0, 0, SENT, SENT);
    const colours = small.getImageData(0, 0, SENT, SENT).data;
    const grey = new Uint8Array(SENT * SENT).map((_, pixel) => colours[4 * pixel]);
    model.send({ side: SENT }, undefined, [grey.buffer]);
  }
  function position(event) {
    const frame = canvas.getBoundingClientRect();
    return [(event.clientX - frame.left) * SIDE / frame.width, (event.clientY - frame.top) * SIDE / frame.height];
  }
  function draw(event) {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    pen.lineTo(...position(event));
    pen.stroke();
    timer ??= setTimeout(send, EVERY);
  }
  function showSeen() {
    const grey = model.get("seen");
    const pixels = new ImageData(SEEN, SEEN);
    pixels.data.forEach((_, at) => (pixels.data[at] = at % 4 === 3 ? 255 : grey.getUint8(at >> 2)));
    seen.getContext("2d").putImageData(pixels, 0, 0);
  }
  function showBars() {
    const values = model.get("probabilities"), best = Math.max(...values);
    bars.replaceChildren(...Array.from({ length: 10 }, (_, digit) => {
      const value = values[digit] ?? 0;
      const bar = element("span", { className: "atelier-bar" });
      bar.style.width = `${1 + 180 * value}px`;
      const className = value && value === best ? "atelier-best" : "";
      const text = values.length ? `${Math.round(100 * value)}%` : "";
      return element("div", { role: "listitem", className }, element("span", {}, `${digit} `), bar, ` ${text}`);
    }));
  }

  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(...position(event));
    draw(event);
  };
  canvas.onpointermove = draw;
  clear.onclick = () => {
    wipe();
    send();
  };
  model.on("change:seen", showSeen);
  model.on("change:probabilities", showBars);
  wipe();
  showSeen();
  showBars();
  const left = element("div", {}, canvas, clear), middle = element("div", {}, seen, "what the network sees");
  el.append(element("div", { className: "atelier-digit" }, left, middle, bars));
}

export default { render };
