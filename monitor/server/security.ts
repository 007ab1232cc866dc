import { createHash, timingSafeEqual } from "node:crypto";
import { hostname, networkInterfaces } from "node:os";
import { WeirError } from "../../src/errors.js";
import type { Role } from "../protocol/messages.js";

/**
 * Who may talk to the monitor. Pure checks: the Host against DNS rebinding, the Origin against foreign pages, the token.
 * Policy: loopback needs no token and makes everyone an operator; any other address needs one, unless `allowUnsafe`,
 * which makes everyone a viewer.
 */

export interface AccessOptions {
  readonly host: string;
  /** Bearer token of operators. */
  readonly token?: string;
  /** Bearer token of viewers. */
  readonly viewerToken?: string;
  readonly allowUnsafe?: boolean;
  /** Further host names (without port) under which the monitor is reached. */
  readonly allowedHosts?: readonly string[];
  /** Further exact origins whose pages may connect. */
  readonly allowedOrigins?: readonly string[];
}

const LOOPBACK = new Set(["127.0.0.1", "localhost", "::1"]);
const WILDCARD = new Set(["0.0.0.0", "::", ""]);

export function isLoopback(host: string): boolean {
  return LOOPBACK.has(host) || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Errors: WEIR_E_MONITOR_UNSAFE when the address is not loopback and there is no token. */
export function assertSafe(options: AccessOptions): void {
  if (isLoopback(options.host) || options.token || options.allowUnsafe) return;
  throw new WeirError(
    "WEIR_E_MONITOR_UNSAFE",
    `the monitor may listen on "${options.host}" only with a token; set monitor.tokenEnv (or --token-env) to the name of an environment variable that holds one, or listen on 127.0.0.1`,
    { host: options.host },
  );
}

export class Access {
  private readonly hosts: ReadonlySet<string>;
  private readonly origins: ReadonlySet<string>;
  private readonly operatorKey: Buffer | null;
  private readonly viewerKey: Buffer | null;

  constructor(
    private readonly options: AccessOptions,
    port: number,
  ) {
    const names = new Set(options.allowedHosts ?? []);
    if (WILDCARD.has(options.host)) {
      names.add(hostname());
      for (const addresses of Object.values(networkInterfaces()))
        for (const { address } of addresses ?? []) names.add(address);
    } else names.add(options.host);
    if (WILDCARD.has(options.host) || isLoopback(options.host)) for (const name of LOOPBACK) names.add(name);
    const written = [...names].map((name) => (name.includes(":") ? `[${name}]` : name.toLowerCase()));
    this.hosts = new Set(
      written.flatMap((name) => [`${name}:${port}`, ...(port === 80 || port === 443 ? [name] : [])]),
    );
    this.origins = new Set([
      ...[...this.hosts].flatMap((host) => [`http://${host}`, `https://${host}`]),
      ...(options.allowedOrigins ?? []),
    ]);
    this.operatorKey = options.token ? digest(options.token) : null;
    this.viewerKey = options.viewerToken ? digest(options.viewerToken) : null;
  }

  hostAllowed(host: string | undefined): boolean {
    return host !== undefined && this.hosts.has(host.toLowerCase());
  }

  /** Programs send no Origin; browsers always do on a WebSocket and on a POST. */
  originAllowed(origin: string | undefined): boolean {
    return origin === undefined || this.origins.has(origin.toLowerCase());
  }

  /** Role without any credential; null where one is needed. */
  get openRole(): Role | null {
    if (this.operatorKey || this.viewerKey) return null;
    return isLoopback(this.options.host) ? "operator" : "viewer";
  }

  /** Role of an `Authorization` header; null when it is missing or wrong. */
  roleOf(authorization: string | undefined): Role | null {
    const token = /^Bearer (.+)$/i.exec(authorization ?? "")?.[1];
    if (token === undefined) return null;
    const key = digest(token);
    if (this.operatorKey && timingSafeEqual(key, this.operatorKey)) return "operator";
    if (this.viewerKey && timingSafeEqual(key, this.viewerKey)) return "viewer";
    return null;
  }
}

/** Equal lengths for a comparison in constant time. */
const digest = (token: string): Buffer => createHash("sha256").update(token).digest();
