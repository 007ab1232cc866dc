import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

/** How the charts are drawn. */
export function Toolbar({ store, view }: { readonly store: Store; readonly view: ViewState }) {
  useTopics(store, "view");
  const { smoothing, x, logY, robust, range } = view.current;
  return (
    <div class="toolbar" role="toolbar" aria-label="Charts">
      <label>
        Smoothing
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing}
          onInput={(event) => view.set({ smoothing: Number(event.currentTarget.value) })}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
      <fieldset class="choice">
        <legend class="hidden">x axis</legend>
        {(["step", "minutes"] as const).map((choice) => (
          <label key={choice}>
            <input type="radio" name="x" checked={x === choice} onChange={() => view.set({ x: choice, range: null })} />
            <span>{choice}</span>
          </label>
        ))}
      </fieldset>
      <label class="check">
        <input type="checkbox" checked={logY} onChange={() => view.set({ logY: !logY })} /> log y
      </label>
      <label class="check">
        <input type="checkbox" checked={robust} onChange={() => view.set({ robust: !robust })} /> ignore outliers
      </label>
      <span class="hint">{range ? "" : "drag to zoom · double-click to reset"}</span>
      {range ? (
        <button type="button" class="ghost" onClick={() => view.set({ range: null })}>
          Reset zoom
        </button>
      ) : null}
      <span class="spacer" />
      <span class="legend">
        <svg viewBox="0 0 10 10" class="mark alert" aria-hidden="true">
          <path d="M1 1h8L5 8z" />
        </svg>
        alert
        <svg viewBox="0 0 10 10" class="mark checkpoint" aria-hidden="true">
          <path d="M5 2l4 7H1z" />
        </svg>
        checkpoint
      </span>
    </div>
  );
}
