"""What papers propose, for the studies of bench/ to compare: fitted scores, certified risk, routing, orders of models.

Walks and curves are made as those of `ttamer.baselines` are. All but `routing.routing_curve` walk a line;
`orders.best_order` finds the line to walk through independent models.
"""
