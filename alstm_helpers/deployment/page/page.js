"use strict";
// Sends a video to /video and draws the answer. Whatever comes from a file or from the model is put in as text.

const COLOURS = 5; // that page.css has
const SHOWN = 10; // labels
const WIDTH = 1000, HEIGHT = 100; // of the drawings, in their own units

// A text in the page's language; {name} in it stands for the value of that name.
const texts = JSON.parse(document.documentElement.dataset.texts ?? "{}");
const told = (text, values = {}) => (texts[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);

const part = (id) => document.getElementById(id);
let request = null; // the one that is under way

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawn(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const clock = (second) => `${Math.floor(second / 60)}:${String(second % 60).padStart(2, "0")}`;
const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
const nameOf = (label) => label.name ?? told("class {index}", label);

function say(error) {
  part("error").textContent = error;
  part("error").hidden = !error;
}

function work(state, share) {
  part("busy").hidden = !state;
  part("file").disabled = Boolean(state);
  part("state").textContent = state;
  if (share === undefined) part("progress").removeAttribute("value");
  else part("progress").value = share;
}

function send(file, limit) {
  part("found").hidden = true;
  say("");
  if (file.size > limit) {
    const size = megabytes(file.size);
    say(told("{name} has {size}; cut it, or start alstm serve with a larger --max_megabytes", { name: file.name, size }));
    return;
  }
  request = new XMLHttpRequest(); // fetch does not tell how much has been sent
  const working = () => work(told("Looking at {name} and listening to it …", file));
  request.upload.onprogress = (sent) => work(told("Sending {name} …", file), sent.loaded / (sent.total || 1));
  request.upload.onload = working;
  request.onload = () => answered(file, request);
  request.onerror = () => say(told("no answer: is alstm serve still running, and can the file be read?"));
  request.onloadend = () => { request = null; work(""); };
  request.open("POST", "video");
  request.responseType = "json";
  work(told("Sending {name} …", file), 0);
  request.send(file);
}

function answered(file, done) {
  if (done.status !== 200) {
    const error = done.response?.error ?? told("the server answered with status {status}", done);
    say(told("{name}: {error}", { name: file.name, error }));
    return;
  }
  const found = done.response;
  part("name").textContent = file.name;
  part("notes").replaceChildren(...found.notes.map((note) => element("li", { textContent: note })));
  part("labels").replaceChildren(...found.labels.slice(0, SHOWN).map(labelRow));
  const { window: width, labels } = found.timeline;
  part("caption").textContent =
    told("The score of the best labels (0 to 1), each from {width} s around a second alone; below, the seconds themselves.", { width });
  part("scores").replaceChildren(lines(labels));
  const secondOf = (place) => found.thumbnails[place]?.second ?? found.seconds;
  const pictures = found.thumbnails.map((each, place) => thumbnail(each, secondOf(place + 1), secondOf(1)));
  part("thumbnails").replaceChildren(...pictures);
  part("attention").replaceChildren(
    ...strip(told("Attention to the pictures"), found.attention.rgb), ...strip(told("Attention to the sound"), found.attention.audio));
  part("found").hidden = false;
  part("found").focus();
}

function labelRow(label, place) {
  const bar = element("div", { className: place < COLOURS ? `bar colour-${place}` : "bar" });
  bar.style.width = `${100 * label.score}%`;
  return element("li", {},
    element("span", { className: "text", textContent: nameOf(label) }),
    element("div", { className: "track" }, bar),
    element("span", { className: "number", textContent: label.score.toFixed(3) }));
}

function lines(labels) {
  const across = [0, 50, 100].map((y) => drawn("line", { x1: 0, x2: WIDTH, y1: y, y2: y }));
  const curves = labels.map((label, place) => {
    const { scores } = label;
    const middles = scores.map((score, second) => [((second + 0.5) / scores.length) * WIDTH, score]);
    const points = [[0, scores[0]], ...middles, [WIDTH, scores.at(-1)]];
    const text = points.map(([x, score]) => `${x.toFixed(1)},${((1 - score) * HEIGHT).toFixed(2)}`).join(" ");
    return drawn("polyline", { class: `colour-${place}`, points: text }, drawn("title", {}, nameOf(label)));
  });
  const names = labels.map(nameOf).join(", ");
  return picture(told("Scores over time of {names}", { names }), [...across, ...curves.reverse()]); // the best on top
}

function strip(title, weights) {
  const most = Math.max(...weights, 1e-9);
  const rects = weights.map((weight, second) => drawn("rect", {
    x: (second / weights.length) * WIDTH, width: WIDTH / weights.length, y: 0, height: HEIGHT, opacity: (weight / most).toFixed(3),
  }));
  return [element("div", { textContent: title }), picture(title, rects)];
}

function picture(title, parts) {
  const frame = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title };
  return drawn("svg", frame, ...parts);
}

// A picture is as wide as the seconds up to the next one, so that it stands below their scores; all have one height.
function thumbnail({ second, jpeg }, until, longest) {
  const shown = element("img", { src: `data:image/jpeg;base64,${jpeg}`, alt: told("second {second}", { second }) });
  shown.style.aspectRatio = (until - second) / longest;
  const made = element("figure", {}, shown, element("figcaption", { textContent: clock(second) }));
  made.style.flexGrow = until - second;
  return made;
}

function listen(limit) {
  const drop = part("drop");
  const take = (files) => { if (files.length && !request) send(files[0], limit); };
  part("limit").textContent = told(" (at most {size}; the first five minutes are used)", { size: megabytes(limit) });
  drop.hidden = false;
  part("file").addEventListener("change", ({ target }) => { take(target.files); target.value = ""; });
  part("stop").addEventListener("click", () => request?.abort());
  for (const kind of ["dragover", "dragleave", "drop"]) { // anywhere: a browser would leave the page and play the file
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files);
    });
  }
}

fetch("health").then((answer) => answer.json()).then(({ video }) => {
  if (video) listen(video.max_bytes);
  else say(told("This server labels features only. To label videos, stop it and start it with the folder that `alstm features` made for the model: alstm serve MODEL --features DIR"));
}).catch(() => say(told("no answer: is alstm serve still running?")));
