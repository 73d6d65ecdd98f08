// Command waybill is everything an operator or a newcomer types.
package main

import (
	"os"

	"waybill.internal/services/waybill/internal/command"
)

func main() { os.Exit(command.Process()) }
