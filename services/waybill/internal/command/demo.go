package command

import (
	"context"
	"errors"
	"os"
	"strings"

	"waybill.internal/pkg/daemon"
	"waybill.internal/services/waybill/internal/demo"
)

type demoCommand struct {
	Exit        bool   `help:"Leave at the end: with 0 only if everything balances and is acknowledged."`
	Records     int    `default:"10000" help:"Requests to send."`
	CSV         int    `name:"csv" default:"2000" help:"Rows of a dropped CSV file, some of them broken; 0 drops none."`
	Integration string `default:"deploy/integrations/service-requests.yaml" help:"The shipped integration that is shown."`
}

func (demoCommand) Help() string {
	return `Starts an installation of its own (it needs no settings and can run beside anything), sends a burst of signed requests
through a bad day, repairs it with waybill dead requeue, and proves with waybill audit that nothing was lost.

Examples:
  waybill demo
  waybill demo --exit --records 1000`
}

func (c demoCommand) Run(in *invocation) (err error) {
	if c.Records < 1 || c.Records > demo.MaxRecords || c.CSV < 0 || c.CSV > demo.MaxRecords {
		return usage("--records must lie between 1 and %d, --csv between 0 and %d", demo.MaxRecords, demo.MaxRecords)
	}
	if in.json {
		return usage("the demo is for people and has no --json")
	}
	command := func(ctx context.Context, lookup daemon.Lookup, args ...string) int {
		around := in.Surroundings
		around.Lookup = lookup
		return Main(ctx, args, around)
	}
	d, err := demo.Start(in.ctx, demo.Options{Records: c.Records, CSV: c.CSV, Integration: c.Integration, Terminal: in.Terminal, Out: in.Stdout,
		Lookup: in.Lookup, Now: in.Now, Command: command, Name: typedName()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	if err = d.Run(in.ctx); err != nil && (c.Exit || in.ctx.Err() != nil) {
		return err
	}
	if c.Exit {
		return nil
	}
	if err != nil {
		in.warn("%v", err)
	}
	in.warn("it stays up; Ctrl-C stops and deletes everything")
	return errors.Join(err, d.Wait(in.ctx))
}

// typedName is how this command is typed: `go run` makes a file that is gone afterwards.
func typedName() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./services/waybill/cmd/waybill"
	}
	return "waybill"
}
