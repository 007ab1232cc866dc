import { useEffect, useRef } from "preact/hooks";

/** Keys and symbols. */

const KEYS: readonly (readonly [string, string])[] = [
  ["j  k", "next, previous trace"],
  ["/", "search traces"],
  ["space", "pause or resume the trace list"],
  ["n", "next hottest token of the open trace"],
  ["←  →", "previous, next token, in the response"],
  ["m", "search metrics"],
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
        <h2 id="help-title">Keys and symbols</h2>
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
          The strong line is the debiased moving average, the faint line the values. Shaded bands are the curriculum's
          phases, triangles at the bottom are checkpoints, dashed vertical lines are resumes and, in red, rollbacks. A
          marker at the top is an alert for a metric of that chart: a click selects it, and a click on one of its
          rollouts opens that at the token. Other charts have a faint line at that step. Drag to zoom all charts,
          double-click to reset; the address of the page holds zoom, search and selection.
        </p>
        <p>
          The table of the pipeline is the supervision tree in the order of flow. A mailbox's bar is what waits for the
          actor; the tick in it is the most that ever waited.
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
