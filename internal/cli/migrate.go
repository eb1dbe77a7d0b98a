package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path"

	"github.com/spf13/cobra"

	"tandem/internal/app"
	"tandem/internal/config"
)

func (p *program) migrateCommand() *cobra.Command {
	group := &cobra.Command{Use: "migrate", Short: "Show the schema of the database, bring it up to this program's, or take it back", GroupID: groupRun,
		Long: "A server brings the schema of its database up when it starts. A release only adds to it, and servers of the\n" +
			"release before go on with what was added to; so a new release can be started node by node."}
	p.step(group, "status", "Show which migrations the database has and which are pending", p.schema)
	p.step(group, "up", "Apply what is pending", func(ctx context.Context, c config.Config) error {
		if _, err := app.MigrateUp(ctx, c, p.warnings()); err != nil {
			return err
		}
		return p.schema(ctx, c)
	})
	var to int64
	var down *cobra.Command
	down = p.step(group, "down", "Take migrations back, with what was written where they had made room; no server may run", func(ctx context.Context, c config.Config) error {
		if to == 0 {
			return misusef(down, "--to is missing: the schema version to go back to")
		}
		if _, err := app.MigrateDown(ctx, c, p.warnings(), to); err != nil {
			return err
		}
		return p.schema(ctx, c)
	})
	down.Flags().Int64Var(&to, "to", 0, "the schema version to go back to")
	return group
}

// step adds a command that does one thing with the database of the settings.
func (p *program) step(group *cobra.Command, use, short string, run func(context.Context, config.Config) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly()}
	settings := settingsOn(cmd, databaseSettings()...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := settings.load(p, cmd)
		if err != nil {
			return err
		}
		return run(cmd.Context(), c)
	}
	group.AddCommand(cmd)
	return cmd
}

// warnings is a log of what somebody who waits has to know.
func (p *program) warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// schema prints what the database has.
func (p *program) schema(ctx context.Context, c config.Config) error {
	s, err := app.Schema(ctx, c)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("database  %d\nprogram   %d\n", s.Version, s.Known)
	if s.Oldest > 0 {
		text += fmt.Sprintf("oldest    %d: programs that know less cannot use the database\n", s.Oldest)
	}
	if verdict := s.Newer(); verdict != "" {
		text += "newer     " + verdict + "\n"
	}
	for _, file := range s.Pending {
		text += "pending   " + path.Base(file) + "\n"
	}
	_, err = fmt.Fprint(p.Out, text)
	return err
}
