/** A way to one TCP address that can turn into a black hole: nothing passes any more, and nobody is told. */
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

export class NetworkPath implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #swallows = false;
  #outages = 0;

  private constructor(target: { readonly host: string; readonly port: string }) {
    this.#server = createServer((client) => {
      this.#keep(client);
      if (this.#swallows) return void client.resume();
      const beyond = this.#keep(connect(Number(target.port), target.host));
      client.pipe(beyond).pipe(client);
      const outages = this.#outages;
      client.once('close', () => beyond.destroy());
      beyond.once('close', () => outages === this.#outages && client.destroy());
    });
  }

  static async start(target: { readonly host: string; readonly port: string }): Promise<NetworkPath> {
    const path = new NetworkPath(target);
    await new Promise<void>((resolve) => path.#server.listen(0, '127.0.0.1', resolve));
    return path;
  }

  get address(): { readonly host: string; readonly port: string } {
    return { host: '127.0.0.1', port: String((this.#server.address() as AddressInfo).port) };
  }

  /** Connections stay open on this side, new ones come about, and what is sent on either is lost. None of them ever comes back to life. */
  swallow(): void {
    this.#swallows = true;
    this.#outages++;
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.resume();
    }
  }

  /** New connections reach their end again. */
  heal(): void {
    this.#swallows = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
    return socket;
  }
}
