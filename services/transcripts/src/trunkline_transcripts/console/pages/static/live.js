// Calls while they go on: server-sent events, and where those do not come, the page fetched anew.
import { localize, tellHowLong } from "./times.js";

const REFRESH_MS = 15_000; // without events
const STORED_AFTER_MS = 1_500; // an event is in the database by then
const ENDED_SHOWN_MAX = 10;
const WORDS_MAX = 160;

/** Keep the list of calls that go on up to date. */
export function followCalls(section) {
  const rows = section.querySelector("#now-rows");
  tellHowLong(section);
  setInterval(() => tellHowLong(section), 1000);
  listen(section, {
    call_started: (event) => showStarted(section, rows, event),
    turn: (event) => showWords(section, rows, event),
    call_ended: (event) => showEnded(section, rows, event),
  });
}

/** Fetch the page of a call anew whenever something was said in it. */
export function followCall(article) {
  let waiting = null;
  const later = () => {
    waiting ??= setTimeout(() => {
      waiting = null;
      refresh(article);
    }, STORED_AFTER_MS);
  };
  listen(article, { turn: later, call_ended: later });
}

function listen(section, handlers) {
  const state = document.getElementById("link-state");
  let fetching = null;
  const fetchInstead = () => {
    state.textContent = `not live: looks again every ${REFRESH_MS / 1000} s`;
    state.classList.remove("up");
    fetching ??= setInterval(() => refresh(section), REFRESH_MS);
  };
  if (!section.dataset.live) {
    fetchInstead();
    return;
  }
  const events = new EventSource(section.dataset.live);
  events.onopen = () => {
    clearInterval(fetching);
    fetching = null;
    state.textContent = "live";
    state.classList.add("up");
  };
  // Closed means refused: EventSource does not come back from that by itself.
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) fetchInstead();
    else state.textContent = "connecting …";
    state.classList.toggle("up", false);
  };
  for (const [name, handle] of Object.entries(handlers)) {
    events.addEventListener(name, (message) => handle(JSON.parse(message.data)));
  }
}

/** Replace what `section` shows by what the server shows now, unless somebody is in the middle of it. */
async function refresh(section) {
  if (section.contains(document.activeElement)) return;
  let response;
  try {
    response = await fetch(location.href, { headers: { Accept: "text/html" } });
  } catch {
    return; // the network is away; the next time may do
  }
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.getElementById(section.id);
  if (!fresh) return;
  // Every part but the ones that this script has written into.
  for (const name of section.id === "now" ? ["now-rows", "now-count", "now-empty"] : []) {
    document.getElementById(name).replaceWith(page.getElementById(name));
  }
  if (section.id === "call") {
    const state = document.getElementById("link-state");
    section.replaceChildren(...fresh.childNodes);
    const place = document.getElementById("link-state");
    if (place) place.replaceWith(state);
  }
  localize(section);
  tellHowLong(section);
}

function showStarted(section, rows, event) {
  if (!event.call_id || rowOf(rows, event)) return;
  const row = section.querySelector("#now-row").content.firstElementChild.cloneNode(true);
  row.dataset.call = event.call_id;
  const time = row.querySelector("time");
  time.dateTime = event.call_started_at;
  row.querySelector("a").href = `/calls/${encodeURIComponent(event.call_id)}`;
  row.querySelector("code").textContent = event.call_id;
  row.querySelector(".agent").textContent = event.agent ?? "–";
  row.querySelector(".caller").textContent = event.caller ?? event.caller_hash?.slice(0, 10) ?? "–";
  row.querySelector(".lasts").dataset.since = event.call_started_at;
  localize(row);
  rows.prepend(row);
  tellHowLong(row);
  count(section, rows);
  announce(`A call began: ${event.agent ?? "no agent"}.`);
}

function showWords(section, rows, event) {
  const row = rowOf(rows, event);
  if (!row || !event.text) return;
  const heard = event.heard_text ?? event.text;
  const words = heard.length > WORDS_MAX ? `… ${heard.slice(-WORDS_MAX)}` : heard;
  const speaker = document.createElement("span");
  const side = event.speaker === "caller" ? "caller" : "agent";
  speaker.className = `speaker ${side}`;
  speaker.textContent = side;
  row.querySelector(".words").replaceChildren(speaker, " ", words);
}

function showEnded(section, rows, event) {
  const row = rowOf(rows, event);
  if (!row || row.classList.contains("gone")) return;
  row.classList.add("gone");
  const lasts = row.querySelector(".lasts");
  delete lasts.dataset.since;
  row.querySelector(".words").textContent = `ended: ${event.reason}`;
  for (const old of [...rows.querySelectorAll("tr.gone")].slice(ENDED_SHOWN_MAX)) old.remove();
  count(section, rows);
  announce(`A call ended: ${event.reason}.`);
}

function rowOf(rows, event) {
  return [...rows.rows].find((row) => row.dataset.call === event.call_id);
}

function count(section, rows) {
  const going = rows.querySelectorAll("tr:not(.gone)").length;
  section.querySelector("#now-count").textContent = String(going);
  section.querySelector("#now-empty").hidden = rows.rows.length > 0;
}

function announce(text) {
  document.getElementById("announced").textContent = text;
}
