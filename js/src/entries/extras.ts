/** The bundle `extras`: everything that opens at a click, loaded when the page is idle. */
import { insertCell } from "../jupyter/cells";
import { replaceRawOutputs } from "../jupyter/raw-outputs";
import type { Extras } from "../types";
import { readAttachment } from "../view/attachment";
import { CallCard } from "../view/call";
import { Columns } from "../view/columns";
import { openConnect } from "../view/connect";
import { DataCard } from "../view/data";
import { detailsOf } from "../view/details";
import { openDirectory } from "../view/directory";
import { editForm } from "../view/editor";
import { openSessionMenu } from "../view/menu";
import { messageActions } from "../view/message-actions";
import { showOutcome } from "../view/outcome";
import { Others } from "../view/people";
import { Queue } from "../view/queue";
import { openRename } from "../view/rename";
import { openSettings } from "../view/settings";
import { sourceList } from "../view/sources";
import { close } from "../view/tab-commands";
import { openTools } from "../view/tools";
import { readyToSend, showSent, suggestVariables } from "../view/variables";
import { Welcome } from "../view/welcome";

export const extras: Extras = {
  closeSession: close,
  createCard: (context, element, type) =>
    type === "tool_call" ? new CallCard(context, element) : new DataCard(context, element),
  createPeople: (context, panel) => new Others(context, panel),
  createQueue: (context, putBack) => new Queue(context, putBack),
  createSideViews: (context, parent, createPanel) => new Columns(context, parent, createPanel),
  createWelcome: (context) => new Welcome(context),
  detailsOf,
  editForm,
  insertCell,
  messageActions,
  openConnect,
  openDirectory,
  openRename,
  openSessionMenu,
  openSettings,
  openTools,
  readAttachment,
  readyToSend,
  replaceRawOutputs,
  showSent,
  suggestVariables,
  showOutcome,
  sourceList,
};
