/** Schedules work for the next frame or for idle time. */

/** Call `task` before the next frame, or soon if no frames are drawn. Returns the function that cancels it. */
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

/** Call `task` when the page is idle, within a second. Returns the function that cancels it. */
export function whenIdle(task: () => void): () => void {
  if (typeof requestIdleCallback === "undefined") {
    const timer = setTimeout(task, 50);
    return () => clearTimeout(timer);
  }
  const handle = requestIdleCallback(task, { timeout: 1000 });
  return () => cancelIdleCallback(handle);
}
