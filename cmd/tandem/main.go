// Command tandem is the whole program: the server, the client of its API, the
// test phone and the demo. What it does is in internal/cli.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // tenants have time zones, and a small container has no zone files

	"tandem/internal/cli"
)

// version is set by the linker (see Makefile).
var version = "dev"

func main() {
	os.Exit(cli.Run(context.Background(), cli.Process{
		Name: os.Args[0], Args: os.Args[1:], Environ: os.Environ(), Version: version,
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
	}))
}
