/** Copying text. */

/** Copy text, also where the browser's own interface for it is absent (plain HTTP); return whether it was done. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.setAttribute("aria-hidden", "true");
    area.style.cssText = "position:fixed;opacity:0";
    area.value = text;
    const { activeElement } = document;
    document.body.append(area);
    area.select();
    let done = false;
    try {
      done = document.execCommand?.("copy") ?? false;
    } catch {
      // Not allowed either.
    }
    area.remove();
    if (activeElement instanceof HTMLElement) activeElement.focus({ preventScroll: true });
    return done;
  }
}
