// The container that holds a pod's namespaces on the real test nodes. No dependencies.
module cache.a3s.dev/test-cluster/pause

go 1.24
