//go:build tools

// Package pulumicli holds the Pulumi CLI's module and, in go.sum, the sums of all it is built from.
// `go install module@version` would ask for every parent path of the module, and a registry that
// answers 403 instead of 404 ends that search.
package pulumicli

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
