package cli

import (
	"context"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// eraseCommand is a group of its own, so that what cannot be undone is not one
// letter away from something else.
func (p *program) eraseCommand() *cobra.Command {
	g := p.api("erase", "Erasure of a person's number from what is kept (as the tenant)")
	var want client.NewErasure
	start := g.add(verb{use: "number NUMBER", short: "Erase a number; it cannot be undone. Prints the receipt, which works on by itself", args: exactly("NUMBER"),
		example: "  tandem erase number +919900000001\n  tandem erase get ers_…              # done, or how many records have to wait",
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				want.Number = args[0]
				_, err = s.Erase(ctx, tenant, want)
			}
			return err
		}})
	start.Flags().BoolVar(&want.Force, "force", false, "end the active allocations that it stands in")
	g.add(verb{use: "get ERASURE_ID", short: "Show a receipt", args: exactly("ERASURE_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Erasure(ctx, tenant, args[0])
			}
			return err
		}})
	var number string
	var at *client.Page
	list := g.add(verb{use: "list", short: "List receipts, newest first; of one number with --number: was it erased?", args: exactly(),
		columns: []string{"erasure_id", "status", "waiting", "removed", "created_at", "finished_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Erasures(ctx, tenant, number, *at)
			}
			return err
		}})
	at = paging(list)
	list.Flags().StringVar(&number, "number", "", "E.164")
	return g.cmd
}
