// Keeps the keyboard's place. A button that is taken away while it has the focus (Unmute, the
// statistics' close) would drop the focus on the page's body, and the keyboard with it.

/**
 * While an element inside `player` that has the focus is removed, the focus goes to the control
 * that the element, or something around it, names with `data-then` (it is found by `data-control`),
 * else to the player. Returns how to stop.
 */
export function keepFocus(player: HTMLElement): () => void {
  let last: Element | null = null;
  let then: string | undefined;

  const onfocusin = (event: FocusEvent) => {
    last = event.target instanceof Element ? event.target : null;
    // Read now: once it is removed, what was around it is gone too.
    then = last?.closest<HTMLElement>('[data-then]')?.dataset.then;
  };
  const onfocusout = () => {
    // Some browsers tell this for a removal too; whether it was one is known a moment later.
    queueMicrotask(() => {
      if (last?.isConnected && document.activeElement !== last) last = null;
    });
  };
  const observer = new MutationObserver(() => {
    if (last === null || last.isConnected) return;
    last = null;
    if (document.activeElement !== null && document.activeElement !== document.body) return;
    const next = then === undefined ? null : player.querySelector(`[data-control="${then}"]`);
    (next instanceof HTMLElement ? next : player).focus({ preventScroll: true });
  });

  player.addEventListener('focusin', onfocusin);
  player.addEventListener('focusout', onfocusout);
  observer.observe(player, { childList: true, subtree: true });
  return () => {
    player.removeEventListener('focusin', onfocusin);
    player.removeEventListener('focusout', onfocusout);
    observer.disconnect();
  };
}
