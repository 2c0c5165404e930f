// A black square to draw on with mouse, pen or finger; what is drawn is sent while it is drawn.
const SIDE = 280, PEN = 22, SENT = 112, EVERY = 100; // pixels; pixels of what is sent; milliseconds

function render({ model, el }) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE, className: "atelier-canvas" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Draw a digit here, with mouse, pen or finger");
  const clear = Object.assign(document.createElement("button"), { textContent: "Clear", className: "jupyter-button" });
  const pen = canvas.getContext("2d");
  const small = Object.assign(document.createElement("canvas"), { width: SENT, height: SENT });
  const smallPen = small.getContext("2d", { willReadFrequently: true });
  let timer = null;

  function wipe() {
    pen.fillStyle = "black";
    pen.fillRect(0, 0, SIDE, SIDE);
    Object.assign(pen, { strokeStyle: "white", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  }

  function send() {
    timer = null;
    smallPen.drawImage(canvas, 0, 0, SENT, SENT);
    const colours = smallPen.getImageData(0, 0, SENT, SENT).data;
    const grey = new Uint8Array(SENT * SENT).map((_, pixel) => colours[4 * pixel]);
    model.send({ side: SENT }, undefined, [grey.buffer]);
  }

  function place(event) {
    const frame = canvas.getBoundingClientRect();
    return [(event.clientX - frame.left) * SIDE / frame.width, (event.clientY - frame.top) * SIDE / frame.height];
  }

  function draw(event) {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    pen.lineTo(...place(event));
    pen.stroke();
    timer ??= setTimeout(send, EVERY);
  }

  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(...place(event));
    draw(event);
  };
  canvas.onpointermove = draw;
  clear.onclick = () => {
    wipe();
    send();
  };
  wipe();
  el.append(canvas, clear);
}

export default { render };
