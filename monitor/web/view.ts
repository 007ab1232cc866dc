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
  /** Selected token of that trace, from 0. */
  token: number | null;
  /** What shades the tokens of a trace; null leaves it to the page. */
  shade: string | null;
  /** Id of the selected alarm. */
  alarm: string | null;
  /** Search of the charts: a regular expression, or a part of a name. */
  find: string;
  /** Metrics that have a chart of their own at the front of the board. */
  pins: readonly string[];
  /** Ids of compared runs that are not drawn. */
  hidden: readonly string[];
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
  token: null,
  shade: null,
  alarm: null,
  find: "",
  pins: [],
  hidden: [],
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
    const theme = localStorage.getItem(THEME_KEY);
    this.current = {
      ...DEFAULTS,
      ...readFragment(parameters),
      theme: theme === "light" || theme === "dark" ? theme : "auto",
    };
    this.applyTheme();
    this.write();
  }

  set(change: Partial<View>): void {
    // Another trace has another step and other tokens.
    const fresh = change.trace === undefined ? {} : { traceStep: null, token: null };
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
    const fragment = writeFragment(this.current);
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname);
  }
}

/** What a fragment says of the view; what it says wrongly has its default. */
export function readFragment(parameters: URLSearchParams): Omit<View, "theme"> {
  const smoothing = Number(parameters.get("smooth") ?? DEFAULTS.smoothing);
  const list = (name: string) => [...new Set(parameters.getAll(name))].filter((text) => text !== "");
  return {
    smoothing: smoothing >= 0 && smoothing < 1 ? smoothing : DEFAULTS.smoothing,
    x: parameters.get("x") === "minutes" ? "minutes" : "step",
    logY: parameters.get("log") === "1",
    robust: parameters.get("outliers") === "0",
    range: rangeOf(parameters.get("zoom")),
    trace: parameters.get("trace"),
    traceStep: wholeOrNull(parameters.get("step")),
    token: wholeOrNull(parameters.get("token")),
    shade: parameters.get("shade"),
    alarm: parameters.get("alarm"),
    find: parameters.get("find") ?? "",
    pins: list("pin"),
    hidden: list("hide"),
  };
}

/** The view as a fragment, without the `#`; defaults are left out. */
export function writeFragment(view: Omit<View, "theme">): string {
  const parameters = new URLSearchParams();
  if (view.smoothing !== DEFAULTS.smoothing) parameters.set("smooth", String(view.smoothing));
  if (view.x !== DEFAULTS.x) parameters.set("x", view.x);
  if (view.logY) parameters.set("log", "1");
  if (view.robust) parameters.set("outliers", "0");
  if (view.range) parameters.set("zoom", view.range.map((edge) => Number(edge.toPrecision(6))).join("~"));
  if (view.find) parameters.set("find", view.find);
  for (const name of view.pins) parameters.append("pin", name);
  for (const id of view.hidden) parameters.append("hide", id);
  if (view.alarm) parameters.set("alarm", view.alarm);
  if (view.trace) parameters.set("trace", view.trace);
  if (view.trace && view.traceStep !== null) parameters.set("step", String(view.traceStep));
  if (view.trace && view.token !== null) parameters.set("token", String(view.token));
  if (view.shade) parameters.set("shade", view.shade);
  return parameters.toString();
}

function rangeOf(text: string | null): readonly [number, number] | null {
  const [from = Number.NaN, to = Number.NaN, more] = (text ?? "").split("~").map(Number);
  return more === undefined && Number.isFinite(from) && Number.isFinite(to) && from < to ? [from, to] : null;
}

function wholeOrNull(text: string | null): number | null {
  const value = Number(text);
  return text !== null && Number.isInteger(value) && value >= 0 ? value : null;
}
