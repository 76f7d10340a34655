/** Servers for the tests: one with scripted replies, and a proxy that breaks connections. */

import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";

/** A received request. */
export interface Seen {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A reply to a request: JSON, or a function. */
export type Reply = { status?: number; headers?: Record<string, string>; json: unknown } | Handler;
type Handler = (response: ServerResponse, request: Seen) => void;

/** A server that sends the `replies` in turn, and records the requests. */
export class StandIn {
  readonly seen: Seen[] = [];
  replies: Reply[] = [];
  readonly #server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const { method = "", url: path = "", headers } = request;
    const seen = { method, path, headers, body: Buffer.concat(pieces).toString("latin1") };
    this.seen.push(seen);
    const reply = this.replies.shift() ?? { status: 500, json: "no reply is left" };
    if (typeof reply === "function") return reply(response, seen);
    response.writeHead(reply.status ?? 200, { "Content-Type": "application/json", ...reply.headers });
    response.end(JSON.stringify(reply.json));
  });

  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** Return an error reply of a coordinator. */
export function errorReply(status: number, code: string, headers: Record<string, string> = {}): Reply {
  const error = { code, message: "No.", details: { job_id: "job_1" }, request_id: "req_1" };
  return { status, headers, json: { error } };
}

/** A reply that breaks the connection. */
export const broken: Reply = (response) => response.destroy();

/**
 * A proxy that breaks connections after a number of bytes in one direction. `breaks` has one number for each connection to
 * break; later connections work.
 */
export class FailingProxy {
  readonly #target: URL;
  readonly #direction: "up" | "down";
  readonly #breaks: number[];
  readonly #open = new Set<Socket>();
  connections = 0;
  /** Number of broken connections. */
  broken = 0;
  readonly #server = createTcpServer((client) => {
    this.connections += 1;
    const server = connect(Number(this.#target.port), this.#target.hostname);
    const end = () => {
      client.destroy();
      server.destroy();
    };
    let left = this.#breaks[0] ?? Number.POSITIVE_INFINITY;
    const count = (piece: Buffer) => {
      left -= piece.length;
      if (left > 0 || this.#breaks.length === 0) return;
      this.#breaks.shift();
      left = Number.POSITIVE_INFINITY;
      this.broken += 1;
      end();
    };
    (this.#direction === "up" ? client : server).on("data", count);
    for (const socket of [client, server]) {
      this.#open.add(socket);
      socket.on("error", end).on("close", () => {
        this.#open.delete(socket);
        end();
      });
    }
    client.pipe(server);
    server.pipe(client);
  });

  constructor(target: string, direction: "up" | "down" = "up", ...breaks: number[]) {
    this.#target = new URL(target);
    this.#direction = direction;
    this.#breaks = breaks;
  }

  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Break all open connections. */
  breakAll(): void {
    this.broken += 1;
    for (const socket of this.#open) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
  }
}
