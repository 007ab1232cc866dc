import type { Store } from "./store.js";

/** The arrangement of the page. Stored in the address's fragment, so that a link or a reload shows the same. */

export interface View {
  /** Weight of the moving average in [0, 0.99]. */
  smoothing: number;
  x: "step" | "minutes";
  logY: boolean;
  /** Ignore outliers when the y axis is scaled. */
  robust: boolean;
  /** Zoomed stretch of x; null shows all. */
  range: readonly [number, number] | null;
  trace: string | null;
  /** Step of that trace, where the link knew it: it is found in the run folder by this. */
  traceStep: number | null;
  theme: "auto" | "light" | "dark";
}

const DEFAULTS: View = {
  smoothing: 0.6,
  x: "step",
  logY: false,
  robust: false,
  range: null,
  trace: null,
  traceStep: null,
  theme: "auto",
};
const THEME_KEY = "weir.theme";
const TOKEN_KEY = "weir.token";

export class ViewState {
  readonly current: View;
  /** Token out of `#token=…`, remembered for this tab and taken out of the address. */
  readonly token: string | undefined;

  constructor(private readonly store: Store) {
    const parameters = new URLSearchParams(location.hash.slice(1));
    const given = parameters.get("token");
    if (given) sessionStorage.setItem(TOKEN_KEY, given);
    this.token = sessionStorage.getItem(TOKEN_KEY) ?? undefined;
    const smoothing = Number(parameters.get("smooth") ?? DEFAULTS.smoothing);
    const theme = localStorage.getItem(THEME_KEY);
    this.current = {
      ...DEFAULTS,
      smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : DEFAULTS.smoothing,
      x: parameters.get("x") === "minutes" ? "minutes" : "step",
      logY: parameters.get("log") === "1",
      trace: parameters.get("trace"),
      traceStep: parameters.has("step") ? wholeOrNull(parameters.get("step")) : null,
      theme: theme === "light" || theme === "dark" ? theme : "auto",
    };
    this.applyTheme();
    this.write();
  }

  set(change: Partial<View>): void {
    // Another trace has another step.
    const fresh = change.trace === undefined ? {} : { traceStep: null };
    Object.assign(this.current, fresh, change);
    if (change.theme) {
      localStorage.setItem(THEME_KEY, change.theme);
      this.applyTheme();
    }
    this.write();
    this.store.touch("view");
  }

  get dark(): boolean {
    const { theme } = this.current;
    return theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : theme === "dark";
  }

  private applyTheme(): void {
    document.documentElement.dataset.theme = this.dark ? "dark" : "light";
  }

  private write(): void {
    const { smoothing, x, logY, trace, traceStep } = this.current;
    const parameters = new URLSearchParams();
    if (smoothing !== DEFAULTS.smoothing) parameters.set("smooth", String(smoothing));
    if (x !== DEFAULTS.x) parameters.set("x", x);
    if (logY) parameters.set("log", "1");
    if (trace) parameters.set("trace", trace);
    if (trace && traceStep !== null) parameters.set("step", String(traceStep));
    const fragment = parameters.toString();
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname);
  }
}

function wholeOrNull(text: string | null): number | null {
  const value = Number(text);
  return Number.isInteger(value) && value >= 0 ? value : null;
}
