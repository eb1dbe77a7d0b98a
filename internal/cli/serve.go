package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/app"
	"tandem/internal/config"
	"tandem/internal/obs"
)

// drainReport is how often a drain says how many calls are left.
const drainReport = 10 * time.Second

func (p *program) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: exactly(), GroupID: groupRun,
		Long: "Run the server until SIGINT or SIGTERM. The first signal refuses new calls and waits for those\n" +
			"that are up, up to drain_seconds; a second one hangs them up. SIGHUP is ignored. The log goes to\n" +
			"stdout. An admin token that this start has made goes to stderr, once.",
	}
	settings := settingsOn(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings.load(p, cmd)
		if err != nil {
			return err
		}
		return p.serve(cmd.Context(), c)
	}
	return cmd
}

// gcPercent lets the heap grow to three times what lives before it is collected,
// unless GOGC says otherwise: a call allocates and is gone, so collecting half
// as often costs a few megabytes and saves about a sixth of a call's CPU
// (docs/performance.md).
const gcPercent = 200

func collectLess(environ []string) {
	if !slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "GOGC=") }) {
		debug.SetGCPercent(gcPercent)
	}
}

// serve runs a server to its end. starting ends with the first signal, so that
// a start that hangs can be given up.
func (p *program) serve(starting context.Context, c config.Config) error {
	log, err := obs.NewLogger(p.Out, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	collectLess(p.Environ)
	// A terminal that is closed must not end talks, as under nohup; a service manager that
	// wants the server to end says SIGTERM.
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	server, err := app.Start(starting, app.Options{Config: c, Log: log, Version: p.Version})
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	if token, fresh := server.AdminToken(); fresh {
		if err := p.showToken(c, token); err != nil {
			return errors.Join(err, server.Stop(ended()))
		}
	}
	select {
	case s := <-signals:
		log.Info("signal", "signal", s.String())
	case <-p.unsignalled.Done():
	}
	return drain(server, drainOptions{limit: c.Drain, now: signals, log: log})
}

// showToken writes the token that was made to stderr, apart from the log, which
// is kept and sent around.
func (p *program) showToken(c config.Config, token string) error {
	_, err := fmt.Fprintf(p.Err, "admin token, shown this once and kept in %s:\n%s\n", filepath.Join(c.DataDir, "admin.token"), token)
	return err
}

type drainOptions struct {
	limit time.Duration    // how long calls may go on
	now   <-chan os.Signal // ends them at once
	log   *slog.Logger
}

// drain stops the server and says how many calls it still waits for.
func drain(server *app.App, o drainOptions) error {
	o.log.Info("draining: no new calls", "calls_left", server.LiveCalls(), "at_most_seconds", o.limit.Seconds())
	patience, hangUp := context.WithTimeout(context.Background(), o.limit)
	defer hangUp()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Stop(patience) }()
	report := time.NewTicker(drainReport)
	defer report.Stop()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				return fmt.Errorf("stop: %w", err)
			}
			o.log.Info("ended well")
			return nil
		case s := <-o.now:
			o.log.Warn("second signal: hanging up", "signal", s.String(), "calls_left", server.LiveCalls())
			hangUp()
		case <-report.C:
			o.log.Info("draining", "calls_left", server.LiveCalls())
		}
	}
}

// ended is a context that is over: for stopping at once.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
