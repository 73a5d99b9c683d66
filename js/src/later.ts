/** Doing things later, when the page has time for them. */

/** Call `task` before the next frame is drawn; where none is drawn, soon. Returns how to cancel it. */
export function nextFrame(task: () => void): () => void {
  // A hidden page draws no frames, and its timers come once a second or less.
  const timer = setTimeout(run, typeof requestAnimationFrame === "undefined" ? 16 : 200);
  const frame = typeof requestAnimationFrame === "undefined" ? 0 : requestAnimationFrame(run);
  function cancel(): void {
    clearTimeout(timer);
    if (typeof cancelAnimationFrame !== "undefined") cancelAnimationFrame(frame);
  }
  function run(): void {
    cancel();
    task();
  }
  return cancel;
}

/** Call `task` when there is time, within a second. Returns how to cancel it. */
export function whenIdle(task: () => void): () => void {
  if (typeof requestIdleCallback === "undefined") {
    const timer = setTimeout(task, 50);
    return () => clearTimeout(timer);
  }
  const handle = requestIdleCallback(task, { timeout: 1000 });
  return () => cancelIdleCallback(handle);
}
