// The sheet of keys.
import { useEffect, useRef } from "preact/hooks";
import { help, KEYS, listening } from "./keys";

const NAMES: Record<string, string> = { " ": "space", Escape: "esc", PageDown: "page down", PageUp: "page up" };

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (help.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [help.value]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="keys-title" onClose={() => (help.value = false)}>
      <div class="row">
        <h2 id="keys-title">Keys</h2>
        <button type="button" class="button small" onClick={() => (help.value = false)}>
          Close
        </button>
      </div>
      <div class="sheet">
        {KEYS.map(({ title, keys }) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {keys.map(({ keys: names, does }) => (
                <div key={does}>
                  <dt>
                    {names.map((name) => (
                      <kbd key={name}>{NAMES[name] ?? name}</kbd>
                    ))}
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <p class="soft">
        On the proof the arrows move it, or step through a film. With a tool they move a crosshair, and Enter draws at it; Shift goes further. Ctrl and
        Enter send what is written.
      </p>
      <label class="check">
        <input
          type="checkbox"
          checked={listening.value}
          onChange={(event) => {
            listening.value = event.currentTarget.checked;
            localStorage.setItem("room-keys", listening.value ? "on" : "off");
          }}
        />{" "}
        Single keys work on this page
      </label>
    </dialog>
  );
}
