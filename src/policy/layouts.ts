/**
 * Directories of well-known tools in which a child is no entry: what one child needs lies in another, or what lies there is no cache at all.
 * A `directory` cache evicts its children, so it would break these, or delete data. One table; reading the disk is not its business.
 */

export interface Layout {
  readonly name: string;
  /** Completes `/path is …`. */
  readonly what: string;
  /**
   * Each line is a set of signs that are all there; one such line is enough. A sign is a path below the directory, with a slash at its end
   * where it is a folder (or a link in its place), and with `*`, `?` and `[…]` within a segment. `=…` compares the end of the directory's
   * own path. The cheapest sign of a line stands first.
   */
  readonly signs: readonly (readonly string[])[];
  /** Which directories below it may be caches all the same, by their path below it. Absent: none. */
  readonly served?: RegExp;
  /** What helps today, in a few words. */
  readonly advice: string;
  /** The directory that was meant, relative to the one that shows the signs: proposed where it exists and is no layout itself. */
  readonly instead?: string;
}

const hex16 = '[0-9a-f]'.repeat(16);
const nixHash = '[0-9a-z]'.repeat(32);
/** Repositories of a Hugging Face hub by the kinds that huggingface_hub knows. */
const repositories = ['models--*', 'datasets--*', 'spaces--*', 'kernels--*'];
/** The first segments of most Maven group ids. */
const groupTops = ['org', 'com', 'io', 'net', 'dev', 'javax', 'jakarta', 'junit', 'commons-*'];
/** `<artifact>/<version>/<artifact>-<version>.pom` below groups of one to four segments. */
const poms = groupTops.flatMap((top) => ['*/*.pom', '*/*/*.pom', '*/*/*/*.pom', '*/*/*/*/*.pom'].map((rest) => [`${top}/${rest}`]));

/** Anything below is judged by its own signs alone. */
const judgedItself = /^/;
const unsupported = 'this layout is not supported yet';

/** The first that matches is named: what would lose data stands first. */
export const layouts: readonly Layout[] = [
  {
    name: 'JuiceFS', what: 'a cache of JuiceFS, which may hold data that is not uploaded yet (rawstaging/)',
    signs: [['rawstaging/']],
    advice: 'it is never evicted from; limit it with --cache-size of juicefs mount',
  },
  {
    name: 'JuiceFS', what: 'the cache directory of JuiceFS, which may hold data that is not uploaded yet (rawstaging/)',
    signs: [['*/rawstaging/']], served: judgedItself,
    advice: 'it is never evicted from; limit it with --cache-size of juicefs mount',
  },
  {
    name: 'NixStore', what: 'a Nix store',
    signs: [['=nix/store'], ['.links/', `${nixHash}-*/`], ['.links/', `${nixHash}-*`], ['store/.links/'], ['=nix', 'store/', 'var/']],
    advice: 'it is never evicted from, because its database knows what lies there; use nix-collect-garbage',
  },
  {
    name: 'OciImageLayout', what: 'an OCI image layout, whose index.json refers to the files in blobs/',
    signs: [['oci-layout', 'index.json'], ['oci-layout', 'blobs/'], ['index.json', 'blobs/sha256/']],
    advice: unsupported,
  },
  {
    name: 'ContainerImages', what: 'the store of a container runtime',
    signs: [
      ['io.containerd.content.v1.content/'], ['io.containerd.metadata.v1.bolt/'], ['blobs/sha256/', 'ingest/'],
      ['overlay-layers/', 'overlay-images/'], ['vfs-layers/', 'vfs-images/'], ['image/overlay2/'], ['overlay2/', 'containers/'],
    ],
    advice: 'it is never evicted from; limit it with the image garbage collection of kubelet, or prune images with the runtime itself',
  },
  {
    name: 'ImageRegistry', what: 'the storage of an image registry',
    signs: [['docker/registry/v2/'], ['registry/v2/repositories/'], ['=registry/v2', 'repositories/']],
    advice: 'it is never evicted from; use the garbage collection of the registry',
  },
  {
    name: 'OllamaHome', what: 'the home of Ollama, with its keys',
    signs: [['id_ed25519', 'models/'], ['models/blobs/', 'models/manifests/']], served: judgedItself,
    advice: 'its models share files, and this layout is not supported yet; remove models with ollama rm', instead: 'models',
  },
  {
    name: 'Ollama', what: 'the model store of Ollama, whose models share the files in blobs/',
    signs: [['manifests/', 'blobs/']],
    advice: `${unsupported}; remove models with ollama rm`,
  },
  {
    name: 'HuggingFaceHome', what: 'the home of a Hugging Face hub, where its login lies beside the models',
    signs: [
      ['stored_tokens'], ['hub/', 'token'], ['xet/', 'token'], ['hub/blobs/.huggingface-shared-blobs'], ...repositories.map((repository) => ['hub/', `hub/${repository}/`]),
      ['huggingface/hub/', 'huggingface/token'], ['huggingface/stored_tokens'],
    ],
    served: judgedItself,
    advice: `its hub/ alone is a cache`, instead: 'hub',
  },
  {
    name: 'HuggingFaceHub', what: 'a Hugging Face hub whose models share their weights in blobs/',
    signs: [['blobs/.huggingface-shared-blobs'], ...repositories.map((repository) => ['blobs/', `${repository}/`])],
    advice: `${unsupported}; clients with HF_HUB_DISABLE_SHARED_BLOBS=1 fill a hub that is`,
  },
  {
    name: 'HuggingFaceRepository', what: 'one repository of a Hugging Face hub',
    signs: [['snapshots/', 'blobs/', 'refs/'], ...repositories.flatMap((repository) => [[`=${repository}`, 'snapshots/'], [`=${repository}`, 'blobs/']])],
    advice: 'its hub is a cache, of which each repository is an entry', instead: '..',
  },
  {
    name: 'ModelScopeHome', what: 'the home of ModelScope, where its login lies beside the models',
    signs: [['credentials/', 'hub/'], ['credentials/', 'models/'], ['hub/', 'hub/models/*/*/.msc'], ['models/', 'models/*/*/.msc']], served: judgedItself,
    advice: 'a folder of one organisation is a cache, of which each model is an entry',
  },
  {
    name: 'ModelScope', what: 'a model store of ModelScope, with a folder for each organisation',
    signs: [['*/*/.msc'], ['*/*/.mv']], served: /^[^/]+$/,
    advice: 'a folder of one organisation is a cache, of which each model is an entry',
  },
  {
    name: 'GradleHome', what: 'the user home of Gradle',
    signs: [['wrapper/', 'caches/'], ['caches/modules-2/'], ['caches/', 'gradle.properties'], ['caches/', 'daemon/', 'native/'], ['modules-2/', 'journal-1/']], served: /^wrapper\/dists$/,
    advice: 'Gradle cleans its caches/ itself; only wrapper/dists is a cache for this', instead: 'wrapper/dists',
  },
  {
    name: 'MavenHome', what: 'the user home of Maven, with its settings',
    signs: [['repository/', 'settings.xml'], ['repository/', 'settings-security.xml'], ['repository/org/apache/maven/']], served: judgedItself,
    advice: unsupported,
  },
  {
    name: 'Maven', what: 'a local repository of Maven, with a folder for each group of artifacts',
    signs: [['org/apache/maven/'], ...poms],
    advice: unsupported,
  },
  {
    name: 'CargoHome', what: 'the home of Cargo, with installed programs and its login',
    signs: [['.package-cache', 'registry/'], ['registry/', 'credentials.toml'], ['registry/index/', 'registry/cache/'], [`registry/cache/*-${hex16}/`], [`registry/src/*-${hex16}/`]], served: judgedItself,
    advice: 'a folder of one index below registry/src or registry/cache is a cache, of which each crate is an entry',
  },
  {
    name: 'CargoRegistry', what: 'the registry of Cargo, with a folder for each use of it',
    signs: [[`index/*-${hex16}/`], [`cache/*-${hex16}/`], [`src/*-${hex16}/`]], served: /^(src|cache)\/[^/]+$/,
    advice: 'a folder of one index below src or cache is a cache, of which each crate is an entry',
  },
  {
    name: 'GoPath', what: 'the path of Go, which holds the module cache',
    signs: [['mod/cache/download/'], ['pkg/mod/cache/download/']], served: judgedItself,
    advice: 'a folder of the module cache in which module versions lie is a cache, such as golang.org/x',
  },
  {
    name: 'GoModules', what: 'the module cache of Go, with a folder for each host',
    signs: [
      ['cache/download/', 'cache/lock'], ['cache/download/sumdb/'], ['cache/download/', '*/*@v*/'], ['cache/download/', '*/*/*@v*/'], ['cache/download/', 'cache/download/*/*/@v/'],
      ['cache/download/', 'cache/download/*/*/*/@v/'],
    ],
    served: /^(?!cache(\/|$))/,
    advice: 'a folder in which module versions lie is a cache, such as golang.org/x',
  },
  {
    name: 'GoBuild', what: 'the build cache of Go, where a folder holds files of any age',
    signs: [['trim.txt', '00/'], ['00/', 'ff/', 'README']],
    advice: `${unsupported}; go removes what was not used for five days`,
  },
  {
    name: 'Npm', what: 'the cache of npm',
    signs: [['_cacache/', '_logs/'], ['_cacache/content-v*/'], ['_cacache/index-v*/']],
    advice: unsupported,
  },
  {
    name: 'Npm', what: 'the cache of npm, whose index refers to its content',
    signs: [['content-v*/', 'index-v*/']],
    advice: unsupported,
  },
  {
    name: 'Pip', what: 'the cache of pip',
    signs: [['http-v2/', 'selfcheck/'], ['http-v2/', 'wheels/'], ['http/', 'selfcheck/'], ['http/', 'wheels/'], ['http-v2/[0-9a-f]/[0-9a-f]/'], ['http/[0-9a-f]/[0-9a-f]/']],
    advice: `${unsupported}; empty it with pip cache purge`,
  },
  {
    name: 'Uv', what: 'the cache of uv, whose folders refer to each other',
    signs: [['archive-v*/', 'wheels-v*/'], ['archive-v*/', 'simple-v*/'], ['wheels-v*/', 'simple-v*/'], ['archive-v*/', 'sdists-v*/']], served: /^archive-v\d+$/,
    advice: 'clean it with uv cache prune; its archive folder alone is a cache',
  },
  {
    name: 'BazelDisk', what: 'a disk cache of Bazel, where ac/ refers to cas/',
    signs: [['ac/', 'cas/']],
    advice: 'limit it with --experimental_disk_cache_gc_max_size of Bazel',
  },
  {
    name: 'Ccache', what: 'the cache of ccache, where a folder holds files of any age',
    signs: [['ccache.conf', '[0-9a-f]/'], ['0/stats', '[1-9a-f]/stats']],
    advice: 'limit it with max_size of ccache',
  },
  {
    name: 'RunnerWork', what: 'the work folder of an Actions runner',
    signs: [['_tool/', '_actions/'], ['_tool/', '_temp/'], ['_actions/', '_temp/']], served: judgedItself,
    advice: 'a folder of one tool below _tool is a cache, of which each version is an entry',
  },
  {
    name: 'RunnerTools', what: 'the tool cache of an Actions runner, with a folder for each tool',
    signs: [['*/*/x64.complete'], ['*/*/arm64.complete'], ['*/*/x86.complete']], served: /^[^/]+$/,
    advice: 'a folder of one tool is a cache, of which each version is an entry',
  },
];
