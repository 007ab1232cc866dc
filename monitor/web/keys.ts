import { useEffect, useRef } from "preact/hooks";

/** Calls the newest handler for each key pressed anywhere on the page. */
export function useKeys(handler: (event: KeyboardEvent) => void): void {
  const keys = useRef(handler);
  keys.current = handler;
  useEffect(() => {
    const listener = (event: KeyboardEvent) => keys.current(event);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
}

/** Whether a key pressed there is text, or the choice of a list or dialog, and not a command to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("dialog") !== null) return true;
  if (target instanceof HTMLInputElement) return !/^(radio|checkbox|range|button)$/.test(target.type);
  return /^(SELECT|TEXTAREA)$/.test(target.tagName);
}
