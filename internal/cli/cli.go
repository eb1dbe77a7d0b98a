// Package cli is the command line of tandem: it reads arguments, environment and
// files, calls the composition root, the API client, the test phone or the demo,
// and turns what comes back into text and an exit code. Only package main calls it.
//
// It decides nothing about calls or allocations, and the commands that manage
// things do so over the HTTP API alone: they work the same from another machine.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/internal/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // bad usage or settings: nothing was tried
)

// A Process is what a program gets from the system that starts it.
type Process struct {
	Name    string   // as it was called; for commands to go on with
	Args    []string // without the name
	Environ []string // as os.Environ gives it
	Version string
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
}

// Run runs one command to its end and gives the exit code.
//
// SIGINT and SIGTERM end what a command is doing; serve takes the first as the
// wish to drain. ctx ends like a first signal.
func Run(ctx context.Context, p Process) int {
	untilSignal, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever presses Ctrl-C twice does not want to wait: from then on a signal
	// has its usual effect, unless serve still listens for it.
	context.AfterFunc(untilSignal, stop)

	prog := &program{Process: p, unsignalled: ctx}
	root := prog.root()
	root.SetArgs(p.Args)
	err := root.ExecuteContext(untilSignal)
	if err == nil {
		return exitDone
	}
	return prog.report(err)
}

// program is one run of the command line.
type program struct {
	Process
	unsignalled context.Context // Run's own; serve handles signals itself
}

// env is the value of an environment variable; "" when it is not set, which
// means the same as an empty one.
func (p *program) env(name string) string {
	value := ""
	for _, pair := range p.Environ {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v // the last one, as the shell has it
		}
	}
	return value
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tandem",
		Short: "Number masking for phone calls: two people talk, and neither sees the other's number",
		Example: `  tandem demo                     two real calls through a virtual number, on this machine alone
  tandem serve                    the server, on loopback unless told otherwise
  tandem tenant create acme       the first step of setting one up`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(cmd, err) })
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupManage, Title: "Manage, over the HTTP API:"})
	root.SetHelpCommandGroupID("")
	root.AddCommand(p.serveCommand(), p.callCommand(), p.demoCommand(), p.healthCommand(), p.configCommand(), p.versionCommand(),
		p.migrateCommand(), p.copyCommand(), p.backupCommand(), p.restoreCommand())
	root.AddCommand(p.tenantCommand(), p.tokenCommand(), p.numberCommand(), p.trunkCommand(), p.allocationCommand(),
		p.pinCommand(), p.webhookCommand(), p.callsCommand(), p.eventsCommand(), p.explainCommand(), p.nodesCommand(), p.settingsCommand(), p.blockedCommand(), p.auditCommand(), p.eraseCommand(), p.contextCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	strict(root)
	return root
}

const (
	groupRun    = "run"
	groupManage = "manage"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(), GroupID: groupRun,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.Out, "tandem", p.Version)
			return err
		},
	}
}

// report tells what went wrong and gives the exit code for it.
func (p *program) report(err error) int {
	var used *usageError
	var faults config.Faults
	switch {
	case errors.As(err, &used):
		p.complain("%v\nRun \"%s --help\" for usage.", err, used.cmd.CommandPath())
		return exitUsage
	case errors.As(err, &faults):
		p.complain("the settings cannot be used:\n%s", indent(faults.Error()))
		return exitUsage
	case errors.Is(err, errSaid):
		return exitFailed
	case errors.Is(err, context.Canceled):
		p.complain("interrupted")
		return exitFailed
	}
	p.complain("%v", err)
	return exitFailed
}

func (p *program) complain(format string, args ...any) {
	// A lost stderr cannot be reported anywhere.
	_, _ = fmt.Fprintf(p.Err, "tandem: "+format+"\n", args...)
}

// errSaid ends a command that has told itself what failed.
var errSaid = errors.New("failed")

// A usageError is a command that cannot be carried out as it was written.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func misuse(cmd *cobra.Command, err error) error { return &usageError{cmd, err} }

func misusef(cmd *cobra.Command, format string, args ...any) error {
	return misuse(cmd, fmt.Errorf(format, args...))
}

// exactly wants one argument for each name, no more and no fewer.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", names[len(args)])
		case len(args) > len(names):
			return fmt.Errorf("%q is too much", args[len(names)])
		}
		return nil
	}
}

// atLeastOne wants one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s is missing", name)
		}
		return nil
	}
}

// strict makes all commands refuse what cobra would let pass, and refuse it as
// misuse: arguments that do not fit, and a group without one of its commands or
// with a word that is none of them (cobra prints help and succeeds).
func strict(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		strict(c)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = whichOne
	}
	if fits := cmd.Args; fits != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := fits(cmd, args); err != nil {
				return misuse(cmd, err)
			}
			return nil
		}
	}
}

// whichOne refuses a group that was called without one of its commands.
func whichOne(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		cmd.SetOut(cmd.ErrOrStderr())
		_ = cmd.Help() // it only fails where the complaint below fails too
		return misusef(cmd, "which one? A command is missing")
	}
	for cmd.SuggestionsMinimumDistance = 1; cmd.SuggestionsMinimumDistance <= 2; cmd.SuggestionsMinimumDistance++ {
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return misusef(cmd, "no command %q; did you mean %q?", args[0], near[0])
		}
	}
	return misusef(cmd, "no command %q", args[0])
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
