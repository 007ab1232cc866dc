import { useEffect, useRef } from "preact/hooks";

/** Keys and signs. */

const KEYS: readonly (readonly [string, string])[] = [
  ["j  k", "next, previous trace"],
  ["/", "search traces"],
  ["space", "hold or release the tail of the trace list"],
  ["n", "next hottest token of the open trace"],
  ["Esc", "close the trace, leave the search"],
  ["0", "reset the zoom"],
  ["l", "logarithmic y"],
  ["?", "this help"],
];

export function Help({ open, onClose }: { readonly open: boolean; readonly onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={onClose}>
      <form method="dialog">
        <h2 id="help-title">Keys and signs</h2>
        <dl>
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>
                {key.split("  ").map((one) => (
                  <kbd key={one}>{one}</kbd>
                ))}
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <p>
          The strong line is the debiased moving average, the faint one the values themselves. Tinted grounds are the
          curriculum's phases, triangles at the bottom checkpoints, dashed verticals resumes. A marker at the top is an
          alert of a metric of that chart; the same step is ruled faintly through all others. Drag to zoom all charts,
          double-click to go back.
        </p>
        <footer>
          <button type="submit" class="primary">
            Close
          </button>
        </footer>
      </form>
    </dialog>
  );
}
