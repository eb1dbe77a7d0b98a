package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// nodesCommand is "tandem nodes".
func (p *program) nodesCommand() *cobra.Command {
	g := p.api("nodes", "")
	return g.alone(g.add(verb{use: "nodes", short: "List the servers on the database, which of them are alive and what they carry (operator)", args: exactly(),
		columns: []string{"node_id", "state", "calls", "version", "started_at", "seen_at", "addresses"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.Nodes(ctx)
			return err
		}}))
}
