/** Recognises files that were downloaded instead of the real ones: Git LFS pointers and web pages. */
import { type ErrorCode, WeirError } from "../../errors.js";

const LFS_POINTER = /^version https:\/\/git-lfs\.github\.com\/spec\/v1\s[\s\S]*?^size (\d+)/m;
const WEB_PAGE = /^\s*<(?:!doctype|html|\?xml)/i;

/** The first bytes of a file that are looked at. */
export const UNFETCHED_HEAD_BYTES = 512;

/** Throws `code` where a file's beginning is that of a Git LFS pointer or a web page. */
export function refuseUnfetched(path: string, head: string, code: ErrorCode): void {
  const pointer = LFS_POINTER.exec(head);
  if (pointer !== null)
    throw new WeirError(
      code,
      `${path} is a Git LFS pointer, not the file itself (${Number(pointer[1]).toLocaleString("en")} bytes, left out when the ` +
        'repository was cloned). Run "git lfs install" and "git lfs pull" in that folder, or download the file.',
      { path, bytes: Number(pointer[1]) },
    );
  if (WEB_PAGE.test(head))
    throw new WeirError(
      code,
      `${path} is a web page, not the file itself: the download was answered by a page (a login, or "not found"). Download it again.`,
      { path },
    );
}
