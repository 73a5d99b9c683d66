/** `chipOf`: what is attached to a message, as it is shown above the text. */

import type { Attachment } from "../protocol";
import type { Context } from "../types";
import { h, iconButton } from "./dom";
import { estimateTokens, label, sizeOf } from "./text";

/** Return whether a part describes a variable. */
export const isVariable = (part: Attachment): boolean =>
  part.type === "file" && part.kind === "variable";

/** Return the chip of the attachment with this index. */
export function chipOf({ t, locale }: Context, part: Attachment, index: number): HTMLElement {
  const { type, text } = part;
  const name = label(part.name, 24);
  const about = (): string => t.aboutTokens(estimateTokens(text).toLocaleString(locale));
  const described = isVariable(part);
  const firstLine = label(text.split("\n", 1)[0] ?? "", 60);
  return h(
    "span",
    { class: "chip" },
    type === "image" && h("img", { src: text, alt: "" }),
    h("bdi", { text: name }),
    type === "file" &&
      h("span", {
        class: "quiet-text",
        text: described ? `· ${firstLine} · ${about()}` : `${sizeOf(text)}, ${about()}`,
      }),
    described && iconButton("show-sent", "details", t.showSent(name), { "data-arg": index }),
    iconButton("detach", "close", t.removeAttachment(name), { "data-arg": index }),
  );
}
