package cli

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"tandem/internal/demo"
	"tandem/internal/obs"
)

func (p *program) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "demo", Short: "Show two real calls through a virtual number, on this machine alone", Args: exactly(), GroupID: groupRun,
		Long: "Start a server, a carrier and two phones on loopback, with a database in a temporary folder; lend a\n" +
			"virtual number over the HTTP API, call through it both ways, check what each side saw and heard, and\n" +
			"stay up to be tried out. Everything is removed at the end.",
	}
	once := cmd.Flags().Bool("once", false, "end after the calls; exit code 0 only if everything really happened")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := obs.NewLogger(p.Err, "text", slog.LevelWarn)
		if err != nil {
			return err
		}
		return demo.Run(cmd.Context(), demo.Options{Out: p.Out, Log: log, Once: *once, Colour: p.colour(), Command: p.Name, Version: p.Version})
	}
	return cmd
}

// colour reports whether output goes to a terminal that shows colours, and
// whose owner wants them (no-color.org).
func (p *program) colour() bool {
	f, ok := p.Out.(*os.File)
	if !ok || p.env("NO_COLOR") != "" || p.env("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
