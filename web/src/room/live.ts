// What others do appears without a reload: the server says that something changed, and it is read again.
import { root } from "./api";
import { alsoHere, me, reread, rereadNotes, room } from "./state";

const SOON = 120; // ms: several changes of one act are read once
const SELDOM = 20_000; // ms between readings where the server can't say when

export function listen(): void {
  const address = `${root}/api/packages/${room.value.package_id}/events`;
  const source = new EventSource(address);
  source.onmessage = (event) => heard(event.data as string);
  for (const kind of ["annotation", "seat", "decision", "package", "presence"]) {
    source.addEventListener(kind, (event) => heard((event as MessageEvent).data as string, kind));
  }
  source.onopen = () => {
    // what happened while the line was down
    if (source.readyState === EventSource.OPEN && heardBefore) soon(true, true);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setInterval(() => !document.hidden && soon(true, true), SELDOM);
  };
}

let heardBefore = false;

function heard(data: string, named?: string): void {
  heardBefore = true;
  let told: { kind?: string; people?: (string | { username: string; name?: string })[] } = {};
  try {
    told = JSON.parse(data);
  } catch {
    return;
  }
  const kind = named ?? told.kind;
  if (kind === "presence") {
    const people = (told.people ?? []).map((one) => (typeof one === "string" ? one : one.username));
    alsoHere.value = [...new Set(people)].filter((one) => one !== me.peek().username);
  } else soon(kind === "annotation", kind !== "annotation");
}

let timer: ReturnType<typeof setTimeout> | undefined;
let wanted = { notes: false, room: false };

function soon(notes: boolean, package_: boolean): void {
  wanted = { notes: wanted.notes || notes, room: wanted.room || package_ };
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const now = wanted;
    wanted = { notes: false, room: false };
    try {
      await Promise.all([now.room && reread(), now.notes && rereadNotes()]);
    } catch {
      wanted = { notes: wanted.notes || now.notes, room: wanted.room || now.room }; // at the next event
    }
  }, SOON);
}
