/** What opens at a click: a bundle of its own, loaded when the page has nothing better to do. */
import { readAttachment } from "./view/attachment";
import { detailsOf } from "./view/details";
import { openDirectory } from "./view/directory";
import { openMenu } from "./view/popup";
import { openSettings } from "./view/settings";

export const extras = { detailsOf, openDirectory, openMenu, openSettings, readAttachment };

export type Extras = typeof extras;
