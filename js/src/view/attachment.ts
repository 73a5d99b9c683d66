/** Reads files that the user attaches: images as images, everything else as text. */

import { allStrings } from "../i18n/extras";
import type { Attachment } from "../protocol";
import type { Context } from "../types";
import { inBytes, label, MOST_BYTES } from "./text";

const IMAGE_TYPES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** Return a file as an attachment, or the reason why it cannot be attached. */
export async function readAttachment(
  { t }: Pick<Context, "t">,
  file: File,
): Promise<Attachment | string> {
  const name = label(file.name);
  if (file.size > MOST_BYTES) {
    const why = t.tooLong(inBytes(file.size), inBytes(MOST_BYTES));
    return allStrings(t).cannotAttach(name, why);
  }
  if (IMAGE_TYPES.has(file.type)) {
    return { type: "image", name: file.name, text: await read(file, "readAsDataURL") };
  }
  const text = await read(file, "readAsText");
  return /[\0\ufffd]/.test(text)
    ? allStrings(t).cannotAttach(name, allStrings(t).fileTypes)
    : { type: "file", kind: "file", name: file.name, text };
}

function read(file: File, how: "readAsText" | "readAsDataURL"): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error(file.name));
    reader[how](file);
  });
}
