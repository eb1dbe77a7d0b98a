package cli

import (
	"context"

	"tandem/internal/client"
)

// capacityCommands are about what the pool has room for.
func capacityCommands(g *apiGroup) {
	var load client.Load
	capacity := g.add(verb{use: "capacity", short: "Tell how full the pool is, and when it runs out (as the tenant)", args: exactly(),
		example: "  tandem number capacity --sessions 500 --most-from 20 --most-to 2",
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Capacity(ctx, tenant, load)
			}
			return err
		}})
	capacity.Flags().Int64Var(&load.Sessions, "sessions", 0, "also say how many numbers suffice for so many allocations at once")
	capacity.Flags().Int64Var(&load.MostFrom, "most-from", 1, "with --sessions: in how many of them any one A-party stands at most")
	capacity.Flags().Int64Var(&load.MostTo, "most-to", 1, "with --sessions: in how many of them any one B-party stands at most")

	var want client.NewAllocation
	var prefer client.Preferences
	dry := g.add(verb{use: "dry-run", short: "Tell which number an allocation would get now; takes none (as the tenant)", args: exactly(),
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err != nil {
				return err
			}
			if prefer != (client.Preferences{}) {
				want.Preferences = &prefer
			}
			_, err = s.DryRun(ctx, tenant, want)
			return err
		}})
	dry.Flags().StringSliceVar(&want.From, "from", nil, "A-party number; may be repeated")
	dry.Flags().StringSliceVar(&want.To, "to", nil, "B-party number; may be repeated")
	dry.Flags().StringVar(&want.Usage, "usage", "", "twoway (default), or oneway: only the A-party may call")
	dry.Flags().StringVar(&prefer.Region, "region", "", "region of the number")
	dry.Flags().StringVar(&prefer.Type, "type", "", "type of the number")
	dry.Flags().StringVar(&prefer.Strictness, "strictness", "", "preferred (default) or strict")
}
