/** Whether a key pressed there is text, or the choice of a list or dialog, and not a command to the page. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("dialog") !== null) return true;
  if (target instanceof HTMLInputElement) return !/^(radio|checkbox|range|button)$/.test(target.type);
  return /^(SELECT|TEXTAREA)$/.test(target.tagName);
}
