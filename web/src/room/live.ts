// What others do appears without a reload: the server says that something changed, and it is read again.
import { root } from "../shared/api";
import { alsoHere, me, reread, rereadNotes, room } from "./state";

const SOON = 120; // ms: several changes of one act are read once
const SELDOM = 20_000; // ms between readings where the server can't say when

export function listen(): void {
  const { package_id, live } = room.peek();
  const source = new EventSource(`${root}/api/packages/${package_id}/events?since=${encodeURIComponent(live)}`);
  for (const kind of ["annotation", "seat", "decision", "package", "presence"]) {
    source.addEventListener(kind, (event) => heard(kind, JSON.parse((event as MessageEvent).data as string) as Told));
  }
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setInterval(() => !document.hidden && soon(true, true), SELDOM);
  };
}

interface Told {
  all?: boolean;
  people?: { username: string }[];
}

function heard(kind: string, { all, people = [] }: Told): void {
  if (kind === "presence") alsoHere.value = [...new Set(people.map((one) => one.username))].filter((one) => one !== me.peek().username);
  else soon(all || kind === "annotation", all || kind !== "annotation");
}

let timer: ReturnType<typeof setTimeout> | undefined;
let wanted = { notes: false, room: false };

/** Read again in a moment. What fails is read with the next event. */
function soon(notes: boolean, room: boolean): void {
  wanted = { notes: wanted.notes || notes, room: wanted.room || room };
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const now = wanted;
    wanted = { notes: false, room: false };
    try {
      await (now.room ? reread() : rereadNotes());
    } catch {
      wanted = { notes: wanted.notes || now.notes, room: wanted.room || now.room };
    }
  }, SOON);
}
