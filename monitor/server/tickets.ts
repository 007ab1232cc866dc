import { randomBytes } from "node:crypto";
import { LIMITS } from "../protocol/limits.js";
import type { Role } from "../protocol/messages.js";

/** Single-use, short-lived stand-ins for a token: what a browser can put into a WebSocket handshake. */
export class Tickets {
  private readonly open = new Map<string, { readonly role: Role; readonly expires: number }>();

  constructor(private readonly clock: () => number) {}

  /** A fresh ticket; the oldest unused one goes when there are too many. */
  issue(role: Role): { readonly ticket: string; readonly role: Role; readonly expiresInMs: number } {
    const now = this.clock();
    for (const [ticket, { expires }] of this.open) if (expires <= now) this.open.delete(ticket);
    while (this.open.size >= LIMITS.tickets) {
      const oldest = this.open.keys().next().value;
      if (oldest === undefined) break;
      this.open.delete(oldest);
    }
    const ticket = randomBytes(24).toString("base64url");
    this.open.set(ticket, { role, expires: now + LIMITS.ticketMs });
    return { ticket, role, expiresInMs: LIMITS.ticketMs };
  }

  /** The role of a ticket, which is used up by this; null when it is unknown, used or too old. */
  redeem(ticket: string): Role | null {
    const known = this.open.get(ticket);
    if (!known) return null;
    this.open.delete(ticket);
    return known.expires > this.clock() ? known.role : null;
  }
}
