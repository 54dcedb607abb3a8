// Where the page's parts meet.

import { Camera, openCamera } from "./camera.js";
import { $ } from "./dom.js";
import { percent } from "./emotions.js";
import { Film } from "./film.js";
import { Photo } from "./photo.js";
import { KEPT } from "./key.js";
import { clearProblem, say, tell } from "./say.js";
import { about, modelCard } from "./service.js";
import { View } from "./view.js";

const PHOTOS = ["jpeg", "png", "webp", "bmp", "tiff", "gif"].map((kind) => `image/${kind}`);
const UNKNOWN = {
  title: "This file type is not supported",
  message: "This page takes photos (JPEG, PNG, WebP, BMP, TIFF, GIF) and videos (MP4, MOV, WebM, MKV, AVI).",
};

let shown = null;
const view = new View((rank) => shown.question(rank));

/** Show something else; what was shown before ends. */
function open(medium, name) {
  shown?.stop();
  view.reset();
  say("");
  shown = medium;
  document.body.dataset.mode = medium.mode;
  $("source").textContent = name;
  medium.start();
}

/** What is shown stays until the camera is there. */
async function turnOn() {
  const before = shown;
  say("Waiting for the camera.");
  try {
    const track = await openCamera();
    if (shown !== before) return track.stop(); // something else was opened meanwhile
    track.onended = () => {
      turnOff();
      tell({ title: "The camera was disconnected", message: "Connect it, then try again." }, turnOn);
    };
    open(new Camera(track, view), "Camera");
  } catch (error) {
    tell(error, turnOn);
  }
}

function turnOff() {
  shown.stop();
  shown = null;
  view.reset();
  say("");
  clearProblem();
  document.body.dataset.mode = "start";
  view.stage.welcome();
}

function openFile(file) {
  if (!file) return;
  if (isVideo(file)) open(new Film(file, view), file.name);
  else if (!file.type || PHOTOS.includes(file.type)) open(new Photo(file, view), file.name);
  else tell(UNKNOWN);
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

/** Run what a button asks for; meanwhile it cannot be pressed again. */
function busy(id, work) {
  $(id).addEventListener("click", async () => {
    $(id).disabled = true;
    try {
      await work();
    } catch (error) {
      tell(error, () => $(id).click());
    } finally {
      $(id).disabled = false;
    }
  });
}

busy("save-csv", () => shown.csv());
busy("save-mp4", () => shown.mp4());
busy("save-png", () => shown.png({ ...view.why.query, face: view.rank, view: $("view").value }));

$("card").addEventListener("click", async (event) => {
  event.preventDefault(); // a link could not bring the key
  try {
    location.assign(URL.createObjectURL(await modelCard()));
  } catch (error) {
    tell(error);
  }
});

/** Show which model serves. The page works without it; problems are shown when something is asked for. */
const introduce = () => about().then(({ serving, card }) => {
  $("serving").textContent = `version ${serving.version}, ${serving.precision} on ${serving.device}`;
  const measured = Object.values({ ...card.metrics.held_out, ...card.metrics.unseen }).map((set) => set[serving.precision] ?? set.fp32);
  const [least, most] = [Math.min, Math.max].map((pick) => percent(pick(...measured.map(({ accuracy }) => accuracy.value))));
  $("accuracy").textContent = `On faces it had never seen, it agreed with people’s labels ${least} to ${most} of the time, depending on the data set.`;
}).catch(() => {});
addEventListener(KEPT, introduce);
introduce();
