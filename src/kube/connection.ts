/** How the API server is reached, whether it was learnt in a pod or from a kubeconfig. */

export interface Credentials {
  /** The whole header, such as `Bearer …`. */
  readonly authorization?: string;
  /** PEM. Absent: the certificate authorities that Node trusts. */
  readonly ca?: string;
  /** PEM, of the client. */
  readonly cert?: string;
  readonly key?: string;
  /** The name the server's certificate must carry, where it is not the host's. */
  readonly serverName?: string;
  /** Only where a kubeconfig says so itself: the server's certificate is not checked. */
  readonly insecure?: boolean;
}

export interface Connection {
  /** `https://10.96.0.1:443`; a path is kept as a prefix. */
  readonly server: URL;
  /** The namespace of the service account or of the context. */
  readonly namespace: string;
  /**
   * Reads token and certificates. The transport asks again every minute, and at once after a 401 or a broken connection,
   * so that what was rotated is taken up.
   */
  credentials(): Promise<Credentials>;
}
