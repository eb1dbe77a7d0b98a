// Package load_test runs each benchmark for a moment, so that none of them rots
// between two measurements. It says nothing about speed.
package load_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// build makes a program of this module.
func build(t *testing.T, path string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(path))
	if out, err := exec.Command("go", "build", "-o", binary, path).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", path, err, out)
	}
	return binary
}

// run runs a program and looks for texts in what it prints.
func run(t *testing.T, command []string, wants ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(command[0]), err, out)
	}
	for _, want := range wants {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestCallbenchPrintsItsTables(t *testing.T) {
	run(t, []string{build(t, "tandem/test/load/callbench"), "-tandem", build(t, "tandem/cmd/tandem"), "-seconds", "1", "-rounds", "1",
		"-rates", "20", "-climb", "20", "-held", "5", "-pairs", "50", "-pin=false", "-dir", t.TempDir()},
		"calls through the whole server", "with sipp as both carriers", "highest clean:", "KB a call")
}

func TestRelaybenchPrintsItsTable(t *testing.T) {
	bench := build(t, "tandem/test/load/relaybench")
	// In the place of the C relay, which needs a C compiler, stands our own.
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("#!/bin/sh\nexec "+bench+" relay auto \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A busy machine may lose packets in a round, which then has no ratio.
	run(t, []string{bench, "-crelay", other, "-calls", "2", "-seconds", "1", "-rounds", "3", "-pin=false"}, "C epoll", "ratio", "to C epoll", "recorded", "to epoll")
}

func TestStorebenchPrintsItsTables(t *testing.T) {
	run(t, []string{build(t, "tandem/test/load/storebench"), "-dir", t.TempDir(), "-clients", "4", "-creates", "200", "-rounds", "1",
		"-small", "200", "-large", "400", "-calls", "200"}, "durable creates", "routing one call", "ratio")
}

func TestApibenchPrintsItsTable(t *testing.T) {
	run(t, []string{build(t, "tandem/test/load/apibench"), "-seconds", "1", "-rounds", "1", "-clients", "2"}, "get", "create", "ratio")
}
