// The entry point: connects the parts of the page.

import { Camera, openCamera } from "./camera.js";
import { $ } from "./dom.js";
import { percent } from "./emotions.js";
import { Film } from "./film.js";
import { Photo } from "./photo.js";
import { KEY_SAVED } from "./key.js";
import { clearProblem, showStatus, showProblem } from "./say.js";
import { modelInfo, modelCard } from "./service.js";
import { View } from "./view.js";

const PHOTO_TYPES = ["jpeg", "png", "webp", "bmp", "tiff", "gif"].map((kind) => `image/${kind}`);
const UNSUPPORTED_TYPE = {
  title: "This file type is not supported",
  message: "This page takes photos (JPEG, PNG, WebP, BMP, TIFF, GIF) and videos (MP4, MOV, WebM, MKV, AVI).",
};

let shown = null;
const view = new View((rank) => shown.question(rank));

/** Show another medium; the previous one is stopped. */
function open(medium, name) {
  shown?.stop();
  view.reset();
  showStatus("");
  shown = medium;
  document.body.dataset.mode = medium.mode;
  $("source").textContent = name;
  medium.start();
}

/** Open the camera; the current medium stays until it is ready. */
async function turnOn() {
  const before = shown;
  showStatus("Waiting for the camera.");
  try {
    const track = await openCamera();
    if (shown !== before) return track.stop(); // something else was opened meanwhile
    track.onended = () => {
      turnOff();
      showProblem({ title: "The camera was disconnected", message: "Connect it, then try again." }, turnOn);
    };
    open(new Camera(track, view), "Camera");
  } catch (error) {
    showProblem(error, turnOn);
  }
}

function turnOff() {
  shown.stop();
  shown = null;
  view.reset();
  showStatus("");
  clearProblem();
  document.body.dataset.mode = "start";
  view.stage.welcome();
}

function openFile(file) {
  if (!file) return;
  if (isVideo(file)) open(new Film(file, view), file.name);
  else if (!file.type || PHOTO_TYPES.includes(file.type)) open(new Photo(file, view), file.name);
  else showProblem(UNSUPPORTED_TYPE);
}

const isVideo = ({ type, name }) => type.startsWith("video/") || /\.(mkv|avi)$/i.test(name);

const actions = {
  choose: () => $("file").click(),
  camera: turnOn,
  off: turnOff,
};

document.addEventListener("click", ({ target }) => actions[target.closest("[data-do]")?.dataset.do]?.());
$("file").addEventListener("change", ({ target }) => { openFile(target.files[0]); target.value = ""; });

addEventListener("dragover", (event) => { event.preventDefault(); $("drop-hint").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop-hint").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop-hint").hidden = true;
  openFile(event.dataTransfer.files[0]);
});
addEventListener("paste", ({ clipboardData }) => openFile(clipboardData.files[0]));

/** Run `work` when the button is clicked; meanwhile the button is disabled. */
function busy(id, work) {
  $(id).addEventListener("click", async () => {
    $(id).disabled = true;
    try {
      await work();
    } catch (error) {
      showProblem(error, () => $(id).click());
    } finally {
      $(id).disabled = false;
    }
  });
}

busy("save-csv", () => shown.csv());
busy("save-mp4", () => shown.mp4());
busy("save-png", () => shown.png({ ...view.why.query, face: view.rank, view: $("view").value }));

$("card").addEventListener("click", async (event) => {
  event.preventDefault(); // a plain link could not send the API key
  try {
    location.assign(URL.createObjectURL(await modelCard()));
  } catch (error) {
    showProblem(error);
  }
});

/** Show which model is in use. Errors are ignored here: the page works without, and later requests report them. */
const showModel = () => modelInfo().then(({ serving, card }) => {
  $("serving").textContent = `version ${serving.version}, ${serving.precision} on ${serving.device}`;
  const measured = Object.values({ ...card.metrics.held_out, ...card.metrics.unseen }).map((set) => set[serving.precision] ?? set.fp32);
  const [least, most] = [Math.min, Math.max].map((pick) => percent(pick(...measured.map(({ accuracy }) => accuracy.value))));
  $("accuracy").textContent = `On faces it had never seen, it agreed with people’s labels ${least} to ${most} of the time, depending on the data set.`;
}).catch(() => {});
addEventListener(KEY_SAVED, showModel);
showModel();
