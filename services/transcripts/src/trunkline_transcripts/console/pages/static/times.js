// Times in the zone of whoever looks, and how long calls have lasted.
const two = (number) => String(number).padStart(2, "0");

/** Return a moment as text in the viewer's zone, to the second, sortable by eye. */
export function local(date) {
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Rewrite every `time` below `root`; the moment in UTC stays as its tooltip. */
export function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    time.textContent = local(new Date(time.dateTime));
  }
}

/** Write into every `.lasts` below `root` how long ago its `data-since` was. */
export function tellHowLong(root) {
  for (const element of root.querySelectorAll(".lasts[data-since]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - new Date(element.dataset.since)) / 1000));
    const minutes = Math.floor(seconds / 60);
    element.textContent = minutes ? `${minutes} min ${two(seconds % 60)} s` : `${seconds} s`;
  }
}
