// Sends pictures to this server's own endpoint and shows the verdicts. Whatever comes back is set as
// text, never as markup, and pictures stay blurred until they are asked for.
"use strict";

const SAMPLES = [
  ["meadow", "Meadow"], ["mug", "Mug"], ["bonfire", "Bonfire"],
  ["knife", "Knife"], ["pills", "Pills"], ["skull", "Skull"],
];
const ACTIONS = { allow: "Allow", review: "Review", block: "Block" };
const TIMES = [["decode", "Decoding"], ["engine", "Model"], ["total", "Whole call"]];
const OPTIONS = '{"detail": true}';
const AT_ONCE = 2;

const at = (id) => document.getElementById(id);
const waiting = [];
let running = 0;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(score) {
  return score === null || score === undefined ? "no answer" : `${(score * 100).toFixed(1)}%`;
}

// --- What is judged -------------------------------------------------------------------------

function add(file, name) {
  const card = at("card").content.cloneNode(true).firstElementChild;
  const thumb = card.querySelector(".thumb");
  const picture = thumb.querySelector("img");
  picture.src = URL.createObjectURL(file);
  // Formats that the server reads and this browser does not: then there is nothing to show.
  picture.addEventListener("error", () => { picture.hidden = true; thumb.disabled = true; });
  thumb.setAttribute("aria-label", `Show ${name}`);
  thumb.addEventListener("click", () => unveil(thumb, name));
  card.querySelector(".name").textContent = name;
  card.querySelector(".again").addEventListener("click", () => enqueue({ card, file, name }));
  at("results").prepend(card);
  at("empty").hidden = true;
  at("clear").hidden = false;
  card.scrollIntoView({ block: "nearest" });
  enqueue({ card, file, name });
}

function unveil(thumb, name) {
  const isShown = thumb.getAttribute("aria-pressed") !== "true";
  thumb.setAttribute("aria-pressed", String(isShown));
  thumb.setAttribute("aria-label", `${isShown ? "Hide" : "Show"} ${name}`);
  thumb.querySelector(".veil").textContent = isShown ? "Hide" : "Show";
}

function addAll(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || file.type === "");
  pictures.forEach((file) => add(file, file.name || "pasted picture"));
  if (pictures.length === 0 && files.length > 0) say("That is no picture.");
}

function enqueue(job) {
  job.card.querySelector(".again").hidden = true;
  badge(job.card, "waiting", "Waiting");
  job.card.querySelector(".summary").textContent = "";
  waiting.push(job);
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    running += 1;
    judge(waiting.shift()).finally(() => { running -= 1; next(); });
  }
}

async function judge({ card, file, name }) {
  badge(card, "waiting", "Judging…");
  const form = new FormData();
  form.append("file", file, name);
  form.append("sightward", OPTIONS);
  const headers = at("key").value ? { authorization: `Bearer ${at("key").value}` } : {};
  try {
    const response = await fetch("v1/moderations", { method: "POST", body: form, headers });
    const answer = await response.json();
    if (response.ok) showVerdict(card, answer, name);
    else showError(card, answer.error, response);
  } catch {
    showError(card, { message: "The server could not be reached.", code: null }, null);
  }
  showRequest(card, name);
}

// --- What is shown --------------------------------------------------------------------------

function say(text) {
  at("status").textContent = text;
}

function badge(card, kind, text) {
  const shown = card.querySelector(".badge");
  shown.className = `badge ${kind}`;
  shown.textContent = text;
  shown.hidden = false;
}

function showVerdict(card, answer, name) {
  const detail = answer.results[0].sightward;
  const action = ACTIONS[detail.action] ?? detail.action;
  badge(card, detail.outcome === "undetermined" && !detail.listed ? "unknown" : detail.action, action);
  card.querySelector(".summary").textContent = summary(detail);
  bars(card.querySelector(".categories"), byScore(detail.categories));
  bars(card.querySelector(".concepts"),
    detail.concepts.map(({ concept, score }) => [concept, score]));
  const own = Object.entries(detail.own_concepts ?? {});
  card.querySelector(".own-part").hidden = own.length === 0;
  bars(card.querySelector(".own"), own);
  pairs(card.querySelector(".timings"), TIMES.map(
    ([key, label]) => [label, duration(detail, key)]));
  const versions = [["Answer", answer.id], ["Model", detail.model_version],
    ["Policy", detail.policy_version], ["Fingerprint", (detail.fingerprints ?? []).join(" ")]];
  pairs(card.querySelector(".versions dl"), versions.filter(([, value]) => value));
  card.querySelector(".details").hidden = false;
  card.querySelector(".versions").hidden = false;
  say(`${name}: ${action}. ${summary(detail)}`);
}

function duration(detail, key) {
  const isKnown = key === "engine" && detail.scores_from.length > 0
    && detail.scores_from.every((source) => source === "cache" || source === "near_duplicate");
  return isKnown ? "judged before" : `${detail.timings_ms[key].toFixed(1)} ms`;
}

function summary(detail) {
  if (detail.listed) return `On the ${detail.listed.list}-list of ${detail.listed.source}.`;
  if (detail.outcome === "undetermined") return "The model gave no usable answer, so it is not safe.";
  return `${detail.outcome === "unsafe" ? "Unsafe" : "Safe"}, ${percent(detail.p_unsafe)} likely to be unsafe`;
}

function showError(card, error, response) {
  badge(card, "failed", "Not judged");
  card.querySelector(".details").hidden = true;
  card.querySelector(".versions").hidden = true;
  const code = error?.code ? ` (${error.code})` : "";
  const text = `${error?.message ?? "The server failed."}${code}`;
  card.querySelector(".summary").textContent = text;
  card.querySelector(".again").hidden = false;
  if (response?.status === 401 || response?.status === 403) {
    at("key").closest("details").open = true;
    at("key").focus();
  }
  say(text);
}

function byScore(scores) {
  return Object.entries(scores).sort(([, a], [, b]) => b - a);
}

function bars(list, entries) {
  list.replaceChildren(...entries.map(([label, score]) => {
    const line = element("li");
    const track = element("span", "track");
    const fill = element("span");
    fill.style.inlineSize = `${(score ?? 0) * 100}%`;
    track.setAttribute("aria-hidden", "true");
    track.append(fill);
    line.append(element("span", "label", label), element("span", "value", percent(score)), track);
    return line;
  }));
  if (entries.length === 0) list.append(element("li", "quiet", "None was named."));
}

function pairs(list, entries) {
  list.replaceChildren(...entries.flatMap(
    ([term, value]) => [element("dt", "", term), element("dd", "", value)]));
}

// --- The request as code --------------------------------------------------------------------

const CODE = {
  curl: (url, name) => [
    `curl -s ${shell(`${url}/moderations`)} \\`,
    ...(at("key").value ? ['  -H "Authorization: Bearer $SIGHTWARD_API_KEY" \\'] : []),
    `  -F ${shell(`file=@"${name.replace(/["\\]/g, "\\$&")}"`)} \\`,
    `  -F ${shell(`sightward=${OPTIONS}`)}`,
  ].join("\n"),
  python: (url, name) => [
    "import base64",
    ...(at("key").value ? ["import os"] : []),
    "from pathlib import Path",
    "from openai import OpenAI",
    "",
    `key = ${at("key").value ? 'os.environ["SIGHTWARD_API_KEY"]' : '"unused"'}`,
    `client = OpenAI(base_url=${JSON.stringify(url)}, api_key=key)`,
    `picture = base64.b64encode(Path(${JSON.stringify(name)}).read_bytes()).decode()`,
    "answer = client.moderations.create(",
    '    input=[{"type": "image_url",',
    '            "image_url": {"url": f"data:image/png;base64,{picture}"}}],',
    '    extra_body={"sightward": {"detail": True}},',
    ")",
    "print(answer.results[0].flagged, answer.results[0].category_scores)",
  ].join("\n"),
};

function shell(text) {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

function showRequest(card, name) {
  const request = card.querySelector(".request");
  const tabs = [...request.querySelectorAll("[role=tab]")];
  const code = request.querySelector("code");
  const url = new URL("v1", document.baseURI).href;
  const choose = (tab) => {
    tabs.forEach((one) => {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
    });
    code.textContent = CODE[tab.dataset.code](url, name);
  };
  tabs.forEach((tab, place) => {
    tab.onclick = () => choose(tab);
    tab.onkeydown = (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = tabs[(place + 1) % tabs.length];
      other.focus();
      choose(other);
    };
  });
  request.querySelector(".copy").onclick = async (event) => {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
  };
  choose(tabs[0]);
  request.hidden = false;
}

// --- The page -------------------------------------------------------------------------------

async function useSample(key, name) {
  const response = await fetch(`playground/samples/${key}.png`);
  add(await response.blob(), `${name.toLowerCase()}.png`);
}

async function showModel() {
  try {
    const headers = at("key").value ? { authorization: `Bearer ${at("key").value}` } : {};
    const response = await fetch("v1/models", { headers });
    const answer = await response.json();
    if (response.ok) at("model").textContent = `Served: ${answer.data[0].id}`;
    else at("model").textContent = answer.error.message;
  } catch {
    at("model").textContent = "The server could not be reached.";
  }
}

SAMPLES.forEach(([key, name]) => {
  const button = element("button");
  button.type = "button";
  const picture = element("img");
  picture.src = `playground/samples/${key}.png`;
  picture.alt = "";
  button.append(picture, element("span", "", name));
  button.addEventListener("click", () => useSample(key, name));
  const item = element("li");
  item.append(button);
  at("samples").append(item);
});

at("files").addEventListener("change", (event) => {
  addAll(event.target.files);
  event.target.value = "";
});
at("key").addEventListener("change", showModel);
at("key-form").addEventListener("submit", (event) => { event.preventDefault(); showModel(); });
at("clear").addEventListener("click", () => {
  waiting.length = 0;
  document.querySelectorAll("#results img").forEach((one) => URL.revokeObjectURL(one.src));
  at("results").replaceChildren();
  at("empty").hidden = false;
  at("clear").hidden = true;
  say("");
  at("files").focus();
});
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files ?? [];
  if (files.length > 0) { event.preventDefault(); addAll(files); }
});
// Anywhere on the page: a picture dropped beside the field would replace the page otherwise.
document.addEventListener("dragover", (event) => { event.preventDefault(); at("drop").classList.add("over"); });
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  addAll(event.dataTransfer?.files ?? []);
});
showModel();
