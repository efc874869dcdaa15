// Who must sign, in which order, who did, and why somebody waits.
import { useSignal } from "@preact/signals";
import { post } from "../shared/api";
import { fills, given } from "./purpose";
import { act, isOpen, me, nameOf, reread, room, say } from "./state";
import type { Seat, Signature } from "./types";
import { ago, capital, count, plain, when } from "./words";

export function Seats() {
  const { seats } = room.value;
  const stages = new Set(seats.map((seat) => seat.stage)).size;
  return (
    <ol class="seats" aria-label="Seats">
      {seats.map((seat) => (
        <Card key={seat.seat_id} seat={seat} staged={stages > 1} />
      ))}
    </ol>
  );
}

function Card({ seat, staged }: { seat: Seat; staged: boolean }) {
  const { username } = me.value;
  const { signatures: signed, needed } = seat;
  const deputies = Object.entries(seat.deputies);
  const mine = seat.status === "open" && seat.eligible.includes(username) && isOpen.value;
  return (
    <li class={`seat ${seat.status}`}>
      <div class="row">
        <strong>{capital(plain(seat.role))}</strong>
        <span class={`badge state-${seat.verdict ?? seat.status}`}>{seat.verdict ? given(seat.verdict) : plain(seat.status)}</span>
      </div>
      <p class="soft">
        {staged && `Stage ${seat.stage}. `}
        {needed > 1 && `${signed.length} of ${needed} signatures. `}
        {seat.veto && !fills.value && "Can veto. "}
        {["open", "waiting"].includes(seat.status) && seat.due_at && `By ${when(seat.due_at)}. `}
        {seat.reason}
      </p>
      {["open", "waiting"].includes(seat.status) && (
        <p class="soft">
          {seat.eligible.length ? seat.eligible.map(nameOf).join(", ") : "Nobody may take it: everybody who could made a part of this."}
          {deputies.map(([deputy, of]) => `; ${nameOf(deputy)} stands in for ${nameOf(of)}`).join("")}
        </p>
      )}
      {signed.map((one) => (
        <Signed key={one.person} one={one} mayTick={seat.eligible.includes(username) || one.person === username} />
      ))}
      {mine && <HandOver seat={seat} />}
    </li>
  );
}

const tick = (decision_id: string) => act(() => post(`/api/decisions/${decision_id}/met`).then(reread), "Ticked off.");

function Signed({ one, mayTick }: { one: Signature; mayTick: boolean }) {
  return (
    <div class="signed">
      <p>
        {nameOf(one.person)}
        {one.on_behalf_of && ` for ${nameOf(one.on_behalf_of)}`}{" "}
        <span class="soft">
          {given(one.verdict).toLowerCase()}
          {` ${ago(one.at)}`}
          {one.via !== "room" && ` by ${one.via === "cli" ? "command line" : capital(one.via)}`}
        </span>
      </p>
      {one.conditions && (
        <p class="condition">
          <span class={one.condition_met ? "badge state-approved" : "badge state-open"}>{one.condition_met ? "condition met" : "condition"}</span>{" "}
          {one.conditions}
          {!one.condition_met && mayTick && (
            <button type="button" class="button small quiet" onClick={() => void tick(one.decision_id)}>
              It is met
            </button>
          )}
        </p>
      )}
      {one.comment && <blockquote>{one.comment}</blockquote>}
      {one.must_fixes.length > 0 && (
        <details>
          <summary>{count(one.must_fixes.length, "must-fix", "must-fixes")}, as they were</summary>
          <ul>
            {one.must_fixes.map((fix) => (
              <li key={fix.annotation_id}>{fix.body}</li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function HandOver({ seat }: { seat: Seat }) {
  const open = useSignal(false);
  const to = useSignal("");
  const why = useSignal("");
  const problem = useSignal("");
  const people = room.value.people.filter(
    (person) => !seat.eligible.includes(person.username) && !room.value.makers.includes(person.username) && !person.roles.every((role) => role === "viewer"),
  );
  const send = async () => {
    try {
      await post(`/api/seats/${seat.seat_id}/delegate`, { to: to.value, why: why.value.trim() });
      await reread();
      say(`Handed over to ${nameOf(to.value)}.`);
      open.value = false;
    } catch (error) {
      problem.value = (error as Error).message;
    }
  };
  if (!open.value) {
    return (
      <button type="button" class="link" onClick={() => (open.value = true)}>
        Hand over
      </button>
    );
  }
  return (
    <form class="handover" onSubmit={(event) => (event.preventDefault(), void send())}>
      <label>
        To
        <select required value={to.value} onChange={(event) => (to.value = event.currentTarget.value)}>
          <option value="">Choose …</option>
          {people.map((person) => (
            <option key={person.username} value={person.username}>
              {person.name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Why
        <input required maxLength={500} value={why.value} onInput={(event) => (why.value = event.currentTarget.value)} />
      </label>
      {problem.value && <p class="wrong" role="alert">{problem.value}</p>}
      <div class="actions">
        <button class="button small primary">Hand over</button>
        <button type="button" class="button small" onClick={() => (open.value = false)}>Cancel</button>
      </div>
    </form>
  );
}
