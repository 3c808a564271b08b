"use strict";

/* Tables whose headings sort them: figures as numbers, the best first; names by the alphabet. */

function sortBy(table, column, direction) {
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows];
  const isNumeric = rows.every((row) => value(row) !== "" && !Number.isNaN(toNumber(value(row))));
  rows.sort((a, b) => {
    const order = isNumeric
      ? toNumber(value(a)) - toNumber(value(b))
      : value(a).localeCompare(value(b), undefined, { numeric: true });
    return direction * (order || 0);
  });
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    cell.setAttribute("aria-sort", index !== column ? "none" : direction > 0 ? "ascending" : "descending");
  });
}

function toNumber(text) {
  // Python writes infinity as "inf".
  return text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => {
      sortBy(table, column, cell.getAttribute("aria-sort") === "descending" ? 1 : -1);
    });
  });
}

/* <image-compare>: its <img> children lie on each other. One is shown left of a divider and one right of it, or all
   side by side; zoom and position are common to all. */

const MOST_ZOOM = 64;
const PIXELS_SHOW_FROM = 3;

const STYLE = `
  :host { position: relative; font: 13px/1.3 system-ui, sans-serif; color: var(--text); }
  .frame { display: flex; flex-direction: column; height: 100%; }
  .bar { display: flex; flex-wrap: wrap; gap: 4px 8px; align-items: center; padding: 4px 0; }
  :host([wheel]) .bar { padding: 6px 8px; background: var(--panel); border-bottom: 1px solid var(--line); }
  select, button { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line);
    border-radius: 4px; padding: 2px 6px; max-width: 40vw; min-height: 28px; cursor: pointer; }
  button[aria-pressed="true"] { background: var(--accent); color: var(--back); border-color: var(--accent); }
  .zoom { min-width: 4.5em; text-align: right; color: var(--quiet); margin-left: auto; }
  .stages { display: grid; gap: 4px; flex: 1; min-height: 0; }
  .stage { position: relative; overflow: hidden; background: #808080; cursor: grab; outline-offset: -2px; }
  :host(:not([wheel])) .stage { aspect-ratio: var(--ratio); touch-action: pan-y; }
  :host([wheel]) .stage, .stage.zoomed { touch-action: none; }
  .stage:focus-visible { outline: 2px solid var(--accent); }
  .layer { position: absolute; inset: 0; overflow: hidden; }
  .layer img { position: absolute; left: 0; top: 0; transform-origin: 0 0; max-width: none; object-fit: contain; user-select: none;
    -webkit-user-drag: none; pointer-events: none; }
  .pixels img { image-rendering: pixelated; }
  .difference .right { mix-blend-mode: difference; }
  .divider { position: absolute; top: 0; bottom: 0; width: 32px; margin-left: -16px; cursor: ew-resize;
    touch-action: none; }
  .divider::before { content: ""; position: absolute; left: 15px; width: 2px; top: 0; bottom: 0; background: #fff;
    box-shadow: 0 0 3px #000; }
  .divider::after { content: "◂▸"; position: absolute; left: 1px; top: 50%; width: 30px; height: 30px;
    margin-top: -15px; border-radius: 15px; background: #fff; color: #222; text-align: center; line-height: 29px;
    letter-spacing: 1px; box-shadow: 0 0 3px #000; }
  .name { position: absolute; bottom: 6px; background: #000a; color: #fff; padding: 1px 6px; border-radius: 3px;
    max-width: 45%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; pointer-events: none; }
  .name.at-left { left: 6px; } .name.at-right { right: 6px; }
  [hidden] { display: none !important; }
`;

class ImageCompare extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    this.images = [...this.querySelectorAll("img")];
    this.width = Number(this.getAttribute("width"));
    this.height = Number(this.getAttribute("height"));
    this.view = { zoom: 1, x: 0, y: 0 };
    this.split = 0.5;
    this.left = 0;
    this.right = Math.min(1, this.images.length - 1);
    this.mode = "slider";
    this.smooth = false;
    this.pointers = new Map();
    this.style.setProperty("--ratio", `${this.width} / ${this.height}`);
    this.build();
    new ResizeObserver(() => this.update()).observe(this.stages);
    this.setMode("slider");
  }

  build() {
    const root = this.attachShadow({ mode: "open" });
    const style = document.createElement("style");
    style.textContent = STYLE;
    this.bar = make("div", "bar");
    this.stages = make("div", "stages");
    const frame = make("div", "frame");
    frame.append(this.bar, this.stages);
    root.append(style, frame);
    this.leftChoice = this.makeChoice("left picture", (index) => { this.left = index; });
    this.rightChoice = this.makeChoice("right picture", (index) => { this.right = index; });
    this.modeButtons = {
      slider: this.makeButton("slider", () => this.setMode("slider")),
      side: this.makeButton("side by side", () => this.setMode("side")),
      difference: this.makeButton("difference", () => this.setMode("difference")),
    };
    this.smoothButton = this.makeButton("smooth", () => { this.smooth = !this.smooth; this.update(); });
    const nearer = this.makeButton("+", () => this.zoomAtMiddle(1.5));
    nearer.setAttribute("aria-label", "zoom in");
    const farther = this.makeButton("−", () => this.zoomAtMiddle(1 / 1.5));
    farther.setAttribute("aria-label", "zoom out");
    const reset = this.makeButton("fit", () => this.setView({ zoom: 1, x: 0, y: 0 }));
    this.zoomText = make("span", "zoom");
    this.bar.append(this.leftChoice, this.rightChoice, ...Object.values(this.modeButtons), this.smoothButton,
      farther, nearer, reset, this.zoomText);
  }

  makeChoice(label, choose) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    this.images.forEach((image, index) => {
      const size = image.dataset.size ? ` (${image.dataset.size})` : "";
      select.append(new Option(image.alt + size, String(index)));
    });
    select.addEventListener("change", () => { choose(Number(select.value)); this.setMode(this.mode); });
    return select;
  }

  makeButton(text, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", act);
    return button;
  }

  setMode(mode) {
    this.mode = mode;
    this.leftChoice.value = String(this.left);
    this.rightChoice.value = String(this.right);
    this.leftChoice.hidden = this.rightChoice.hidden = mode === "side";
    for (const [name, button] of Object.entries(this.modeButtons)) {
      button.setAttribute("aria-pressed", String(name === mode));
    }
    const shown = mode === "side" ? this.images.map((image) => [image]) : [[this.images[this.left], this.images[this.right]]];
    this.stages.replaceChildren(...shown.map((pair) => this.makeStage(pair)));
    this.update();
  }

  makeStage(pair) {
    const stage = make("div", "stage");
    stage.tabIndex = 0;
    pair.forEach((image, index) => {
      const layer = make("div", index === 0 ? "layer left" : "layer right");
      const copy = image.cloneNode();
      copy.draggable = false;
      layer.append(copy);
      stage.append(layer);
    });
    pair.forEach((image, index) => {
      const name = make("span", index === 0 ? "name at-left" : "name at-right");
      name.textContent = image.alt;
      stage.append(name);
    });
    stage.setAttribute("aria-label", pair.map((image) => image.alt).join(" and "));
    if (this.mode === "slider") {
      stage.append(make("div", "divider"));
      stage.setAttribute("role", "slider");
    }
    stage.addEventListener("pointerdown", (event) => this.onDown(event, stage));
    stage.addEventListener("pointermove", (event) => this.onMove(event, stage));
    for (const kind of ["pointerup", "pointercancel"]) {
      stage.addEventListener(kind, (event) => this.pointers.delete(event.pointerId));
    }
    stage.addEventListener("wheel", (event) => this.onWheel(event, stage), { passive: false });
    stage.addEventListener("dblclick", () => this.setView({ zoom: 1, x: 0, y: 0 }));
    stage.addEventListener("keydown", (event) => this.onKey(event));
    return stage;
  }

  /* The picture at zoom 1 fills the stage as far as its shape allows, in the middle. */
  fit() {
    const stage = this.stages.firstElementChild;
    const width = stage.clientWidth, height = stage.clientHeight;
    const scale = Math.min(width / this.width, height / this.height);
    return { width, height, scale, left: (width - scale * this.width) / 2, top: (height - scale * this.height) / 2 };
  }

  setView(view) {
    const { width, height, scale } = this.fit();
    const zoom = Math.min(Math.max(view.zoom, 1), MOST_ZOOM / Math.min(scale, 1));
    /* No side of the picture comes farther in than it lies at zoom 1. */
    const limit = (value, length) => Math.min(0, Math.max(value, length * (1 - zoom)));
    this.view = { zoom, x: limit(view.x, width), y: limit(view.y, height) };
    this.update();
  }

  zoomAt(factor, x, y) {
    const { zoom, x: left, y: top } = this.view;
    const { scale } = this.fit();
    const next = Math.min(Math.max(zoom * factor, 1), MOST_ZOOM / Math.min(scale, 1));
    const real = next / zoom;
    this.setView({ zoom: next, x: x - (x - left) * real, y: y - (y - top) * real });
  }

  zoomAtMiddle(factor) {
    const { width, height } = this.fit();
    this.zoomAt(factor, width / 2, height / 2);
  }

  update() {
    const stages = [...this.stages.children];
    if (stages.length === 0) return;
    if (this.mode === "side") {
      const wide = this.stages.clientWidth;
      const columns = wide < 500 ? 1 : Math.min(stages.length, this.hasAttribute("wheel") ? 4 : 2);
      this.stages.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    } else {
      this.stages.style.gridTemplateColumns = "minmax(0, 1fr)";
    }
    const { left, top, scale, width } = this.fit();
    const { zoom, x, y } = this.view;
    const shownPerPixel = zoom * scale * (window.devicePixelRatio || 1);
    for (const stage of stages) {
      stage.classList.toggle("zoomed", zoom > 1);
      stage.classList.toggle("difference", this.mode === "difference");
      for (const image of stage.querySelectorAll("img")) {
        image.style.width = `${this.width * scale}px`;
        image.style.height = `${this.height * scale}px`;
        image.style.transform = `translate(${x + left * zoom}px, ${y + top * zoom}px) scale(${zoom})`;
        const enlarged = shownPerPixel * this.width / (image.naturalWidth || this.width);
        image.parentElement.classList.toggle("pixels", !this.smooth && enlarged >= PIXELS_SHOW_FROM);
      }
      const divider = stage.querySelector(".divider");
      if (divider) {
        divider.style.left = `${100 * this.split}%`;
        stage.querySelector(".right").style.clipPath = `inset(0 0 0 ${100 * this.split}%)`;
        stage.setAttribute("aria-valuenow", String(Math.round(100 * this.split)));
        stage.setAttribute("aria-valuemin", "0");
        stage.setAttribute("aria-valuemax", "100");
      }
    }
    this.smoothButton.setAttribute("aria-pressed", String(this.smooth));
    this.zoomText.textContent = `${Math.round(100 * zoom * scale)} %`;
    this.stageWidth = width;
  }

  place(event, stage) {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  onDown(event, stage) {
    if (event.button !== 0) return;
    const point = this.place(event, stage);
    const onDivider = event.target.classList.contains("divider");
    const moves = this.mode === "slider" && (onDivider || this.view.zoom === 1) ? "divider" : "picture";
    stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { ...point, moves });
    if (moves === "divider" && this.pointers.size === 1) this.moveDivider(point.x);
  }

  onMove(event, stage) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const point = this.place(event, stage);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const distance = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
      this.zoomAt(distance(point) / distance(before), (point.x + other.x) / 2, (point.y + other.y) / 2);
    } else if (before.moves === "divider") {
      this.moveDivider(point.x);
    } else {
      const { zoom, x, y } = this.view;
      this.setView({ zoom, x: x + point.x - before.x, y: y + point.y - before.y });
    }
    this.pointers.set(event.pointerId, { ...before, ...point });
  }

  moveDivider(x) {
    this.split = Math.min(Math.max(x / this.fit().width, 0), 1);
    this.update();
  }

  onWheel(event, stage) {
    /* Among text the wheel scrolls the page, unless Ctrl is held. */
    if (!this.hasAttribute("wheel") && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { x, y } = this.place(event, stage);
    this.zoomAt(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.06 : 0.002)), x, y);
  }

  onKey(event) {
    const { zoom, x, y } = this.view;
    const step = event.shiftKey || this.mode !== "slider" ? "picture" : "divider";
    const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      if (step === "divider" && dx) this.moveDivider((this.split - 0.02 * dx) * this.fit().width);
      else this.setView({ zoom, x: x + 40 * dx, y: y + 40 * dy });
    } else if (event.key === "+" || event.key === "=") this.zoomAtMiddle(1.5);
    else if (event.key === "-") this.zoomAtMiddle(1 / 1.5);
    else if (event.key === "0") this.setView({ zoom: 1, x: 0, y: 0 });
    else return;
    event.preventDefault();
  }
}

function make(tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

customElements.define("image-compare", ImageCompare);
