// The page: a queue of pictures, each a job of the service, and a view that compares before and after.

const $ = (id) => document.getElementById(id);
const TASKS = {
  "upscale-4": { text: "Enlarge ×4", operation: "upscale", scale: 4 },
  "upscale-3": { text: "Enlarge ×3", operation: "upscale", scale: 3 },
  "upscale-2": { text: "Enlarge ×2", operation: "upscale", scale: 2 },
  size: { text: "Enlarge to a size", operation: "upscale", scale: null },
  denoise: { text: "Remove noise", operation: "denoise", scale: 1 },
  dejpeg: { text: "Remove JPEG artefacts", operation: "dejpeg", scale: 1 },
};
const ABOUT = {
  real: "For pictures as they are: it also takes away noise, blur and compression.",
  lightweight: "For clean pictures: it keeps everything that is there.",
  classical: "For clean pictures: larger and slower, and better.",
  denoise: "Takes colour noise away.",
  dejpeg: "Takes blocks and rings of JPEG away.",
};
const POLL_MS = 700;
const RETRY_MS = 3000;
let token = sessionStorage.getItem("token") || new URLSearchParams(location.hash.slice(1)).get("token") || "";
let models = [];
const items = [];

function headers() {
  return token ? { authorization: `Bearer ${token}` } : {};
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...(options.headers || {}) } });
  if (response.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  return response;
}

function askForToken() {
  const dialog = $("login");
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("token", token);
      resolve();
    }, { once: true });
  });
}

function tell(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
}

async function sentence(response) {
  try {
    const body = await response.json();
    return typeof body.detail === "string" ? body.detail : "the request was refused";
  } catch {
    return `the service answered ${response.status}`;
  }
}

function modelsOf(task) {
  const { operation, scale } = TASKS[task];
  const fits = models.filter((m) => (scale === null || m.scale === scale) && (operation === "upscale" ? m.scale > 1 : m.name.includes(operation)));
  const rank = (m) => ["real", "lightweight", "classical"].findIndex((kind) => m.name.startsWith(kind) ) + 1 || 9;
  return fits.sort((a, b) => Number(b.bundled) - Number(a.bundled) || rank(a) - rank(b) || a.name.localeCompare(b.name));
}

function offerTasks() {
  for (const [value, task] of Object.entries(TASKS))
    if (modelsOf(value).length) $("task").append(new Option(task.text, value));
  offerModels();
}

function offerModels() {
  const task = $("task").value;
  const free = task === "size" ? [new Option("chosen by the size", "")] : [];
  $("model").replaceChildren(...free, ...modelsOf(task).map((m) => new Option(m.name, m.name)));
  $("size").hidden = task !== "size";
  describeModel();
}

function describeModel() {
  const model = models.find((m) => m.name === $("model").value);
  $("card").textContent = "The next larger model, again where one is not enough, and then a reduction to the size.";
  if (!model) return;
  const kind = Object.keys(ABOUT).find((name) => model.name.includes(name));
  $("card").textContent = `${model.name}: ${kind ? ABOUT[kind] : ""} Licence: ${model.licence || "unknown"}.`;
}

// What is asked for: a model, a size, or both.
function wish() {
  const asked = $("task").value === "size" ? { width: $("width").value, height: $("height").value } : {};
  return Object.fromEntries(Object.entries({ model: $("model").value, salvage: $("salvage").checked, ...asked }).filter(([, value]) => value));
}

function addAll(files) {
  const lacksSize = $("task").value === "size" && !$("width").value && !$("height").value;
  const isWrong = !$("wish").reportValidity();
  tell(lacksSize ? "Write a width, a height, or both, in pixels." : "");
  if (lacksSize) $("width").focus();
  else if (!isWrong) [...files].forEach(add);
}

function add(file) {
  const node = $("item").content.cloneNode(true).querySelector("li");
  const item = { file, node, url: URL.createObjectURL(file), wish: wish(), format: $("format").value, state: "waiting" };
  node.querySelector(".name").textContent = file.name || "picture";
  const thumb = node.querySelector(".thumb");
  thumb.addEventListener("error", () => thumb.removeAttribute("src"));  // a format that the browser does not know
  thumb.src = item.url;
  node.querySelector(".cancel").addEventListener("click", () => cancel(item));
  node.querySelector(".show").addEventListener("click", () => compare(item));
  node.querySelector(".save").addEventListener("click", () => download(item));
  $("queue").append(node);
  items.push(item);
  send(item);
}

function show(item, text, fraction = null) {
  item.node.querySelector(".state").textContent = text;
  const bar = item.node.querySelector("progress");
  bar.hidden = fraction === null;
  if (fraction !== null) bar.value = fraction;
  const isOver = ["done", "failed", "cancelled"].includes(item.state);
  item.node.classList.toggle("failed", item.state === "failed");
  item.node.querySelector(".show").hidden = item.node.querySelector(".save").hidden = item.state !== "done";
  item.node.querySelector(".cancel").textContent = isOver ? "Remove" : "Cancel";
  $("all").hidden = !items.some((other) => other.state === "done");
}

function fail(item, message) {
  item.state = "failed";
  show(item, message.replace("salvage=true restores", "the switch above restores"));
}

async function send(item) {
  show(item, "sending", 0);
  const query = new URLSearchParams({ ...item.wish, format: item.format, name: item.file.name || "picture" });
  try {
    const response = await ask(`v1/jobs?${query}`, { method: "POST", body: item.file, headers: { "content-type": "application/octet-stream" } });
    if (item.state === "cancelled") {
      if (response.ok) await ask(`v1/jobs/${(await response.json()).id}`, { method: "DELETE" });
      return;
    }
    if (response.status === 429) {
      show(item, "waiting for a place in the queue", 0);
      setTimeout(() => item.state === "waiting" && send(item), RETRY_MS);
      return;
    }
    if (!response.ok) return fail(item, await sentence(response));
    item.job = (await response.json()).id;
    follow(item);
  } catch {
    fail(item, "the service cannot be reached");
  }
}

function seconds(value) {
  return value < 90 ? `${Math.ceil(value)} s` : `${Math.ceil(value / 60)} min`;
}

async function follow(item) {
  while (!["failed", "cancelled", "done"].includes(item.state)) {
    try {
      const response = await ask(`v1/jobs/${item.job}`);
      if (item.state === "cancelled") return;
      if (!response.ok) return fail(item, await sentence(response));
      update(item, await response.json());
    } catch {
      show(item, "the service cannot be reached, trying again", 0);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function update(item, job) {
  if (job.state === "failed") return fail(item, job.message);
  item.state = job.state;
  if (job.state === "queued") show(item, job.position ? `${job.position} before it` : "next", 0);
  else if (job.state === "running") show(item, job.remaining_s === null ? "restoring" : `restoring, ${seconds(job.remaining_s)} left`, job.fraction);
  else if (job.state === "cancelled") show(item, "cancelled");
  else show(item, job.message || "done");
}

async function cancel(item) {
  const wasOver = ["done", "failed", "cancelled"].includes(item.state);
  if (!wasOver) {
    item.state = "cancelled";
    show(item, "cancelled");
  }
  if (item.job) await ask(`v1/jobs/${item.job}`, { method: "DELETE" }).catch(() => {});
  if (wasOver) remove(item);
}

function remove(item) {
  URL.revokeObjectURL(item.url);
  if (item.result) URL.revokeObjectURL(item.result);
  item.node.remove();
  items.splice(items.indexOf(item), 1);
  $("all").hidden = !items.some((other) => other.state === "done");
}

async function resultOf(item) {
  if (!item.result) {
    const response = await ask(`v1/jobs/${item.job}/result`);
    if (!response.ok) throw new Error(await sentence(response));
    item.resultName = decodeURIComponent((response.headers.get("content-disposition") || "").split("''")[1] || "result");
    item.result = URL.createObjectURL(await response.blob());
  }
  return item.result;
}

function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

async function download(item) {
  try {
    save(await resultOf(item), item.resultName);
  } catch (error) {
    tell(error.message);
  }
}

async function downloadAll() {
  const query = new URLSearchParams(items.filter((item) => item.state === "done").map((item) => ["job", item.job]));
  const response = await ask(`v1/results.zip?${query}`);
  if (!response.ok) return tell(await sentence(response));
  const url = URL.createObjectURL(await response.blob());
  save(url, "swinir.zip");
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// Both images move together: `view` is the shown point of the result and its magnification.
const view = { zoom: "fit", scale: 1, x: 0, y: 0 };

async function compare(item) {
  try {
    const result = await resultOf(item);
    $("compare-name").textContent = item.file.name || "picture";
    await Promise.all([load($("before"), item.url), load($("after"), result)]);
  } catch {
    return tell("the browser cannot show this format: download the result instead");
  }
  $("compare").showModal();
  setZoom("fit");
}

function load(image, url) {
  image.src = url;
  return image.decode();
}

function setZoom(zoom) {
  const box = $("slider").getBoundingClientRect();
  const { naturalWidth: width, naturalHeight: height } = $("after");
  // The slider is as high as what is in it, and that is placed and has no height of its own.
  for (const side of document.querySelectorAll(".side")) Object.assign(side.style, { width: `${box.width}px`, height: `${box.height}px` });
  view.zoom = zoom;
  const before = view.scale;
  view.scale = zoom === "fit" ? Math.min(box.width / width, box.height / height) : Number(zoom) / devicePixelRatio;
  if (zoom === "fit") Object.assign(view, { x: (width - box.width / view.scale) / 2, y: (height - box.height / view.scale) / 2 });
  else {
    view.x += box.width / 2 / before - box.width / 2 / view.scale;
    view.y += box.height / 2 / before - box.height / 2 / view.scale;
  }
  for (const button of document.querySelectorAll("[data-zoom]")) button.setAttribute("aria-pressed", String(button.dataset.zoom === zoom));
  place();
}

function place() {
  const after = $("after");
  for (const image of [$("before"), after]) {
    const factor = (view.scale * after.naturalWidth) / image.naturalWidth;
    image.style.transform = `translate(${-view.x * view.scale}px, ${-view.y * view.scale}px) scale(${factor})`;
    image.style.imageRendering = image === after && view.scale * devicePixelRatio >= 4 ? "pixelated" : "auto";
  }
}

function pan(dx, dy) {
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  place();
}

function listenToDrags() {
  let last = null;
  const slider = $("slider");
  for (const side of document.querySelectorAll(".side")) {
    side.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; });
    side.addEventListener("wheel", (event) => { event.preventDefault(); pan(-event.deltaX, -event.deltaY); }, { passive: false });
  }
  addEventListener("pointermove", (event) => {
    if (!last) return;
    pan(event.clientX - last[0], event.clientY - last[1]);
    last = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { last = null; });
  slider.addEventListener("keydown", (event) => {
    const moves = { w: [0, 60], s: [0, -60], a: [60, 0], d: [-60, 0] };
    if (moves[event.key]) pan(...moves[event.key]);
  });
}

function listen() {
  const drop = $("drop");
  $("files").addEventListener("change", () => { addAll($("files").files); $("files").value = ""; });
  drop.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("files").click(); } });
  for (const kind of ["dragover", "dragenter"]) addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); addAll(event.dataTransfer.files); });
  addEventListener("paste", (event) => event.clipboardData.files.length && addAll(event.clipboardData.files));
  $("wish").addEventListener("submit", (event) => event.preventDefault());
  $("task").addEventListener("change", offerModels);
  $("model").addEventListener("change", describeModel);
  $("download-all").addEventListener("click", downloadAll);
  $("clear").addEventListener("click", () => items.filter((item) => ["done", "failed", "cancelled"].includes(item.state)).forEach(cancel));
  $("close").addEventListener("click", () => $("compare").close());
  for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => setZoom(button.dataset.zoom));
  addEventListener("resize", () => $("compare").open && setZoom(view.zoom));
  listenToDrags();
}

async function start() {
  listen();
  try {
    const response = await ask("v1/models");
    models = await response.json();
    offerTasks();
  } catch {
    tell("the service cannot be reached");
  }
}

start();
