"""PyG learns: graph networks on a small graph of two groups, which they can tell apart."""

import json
import os
from unittest import SkipTest

import torch
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader, NeighborLoader
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, global_mean_pool
from torch_geometric.utils import stochastic_blockmodel_graph

SUBJECT = json.loads(os.environ["CSLR_SUBJECT"])
GROUP = 50  # nodes
STEPS = 40


def two_groups() -> Data:
    """A graph whose nodes are linked within their group far more often than across."""
    torch.manual_seed(0)
    edges = stochastic_blockmodel_graph([GROUP, GROUP], [[0.2, 0.01], [0.01, 0.2]])
    groups = torch.arange(2).repeat_interleave(GROUP)
    return Data(x=torch.randn(2 * GROUP, 8) + groups.unsqueeze(1), edge_index=edges, y=groups)


class Network(torch.nn.Module):  # type: ignore[misc]
    """Two layers of one kind."""

    def __init__(self, layer: type[torch.nn.Module]) -> None:
        super().__init__()
        self.first, self.second = layer(8, 16), layer(16, 2)

    def forward(self, graph: Data) -> torch.Tensor:
        """The groups' scores, by node."""
        return self.second(self.first(graph.x, graph.edge_index).relu(), graph.edge_index)


def losses(layer: type[torch.nn.Module], device: str) -> list[float]:
    """The losses of a short training."""
    graph, network = two_groups().to(device), Network(layer).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    found = []
    for _ in range(STEPS):
        loss = functional.cross_entropy(network(graph), graph.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def check_convolution_learns(device: str) -> None:
    """Scatter by index."""
    found = losses(GCNConv, device)
    assert found[-1] < found[0] / 2, found


def check_attention_learns(device: str) -> None:
    """Softmax over the edges of each node."""
    found = losses(GATConv, device)
    assert found[-1] < found[0] / 2, found


def check_batches_of_graphs_are_pooled(device: str) -> None:
    """Loader and pooling."""
    (batch,) = DataLoader([two_groups() for _ in range(3)], batch_size=3)
    batch = batch.to(device)
    pooled = global_mean_pool(SAGEConv(8, 4).to(device)(batch.x, batch.edge_index), batch.batch)
    assert pooled.shape == (3, 4)


def check_pyg_lib_is_what_the_label_says() -> None:
    """Without it PyG falls back to torch's own operations, and cannot sample neighbours."""
    try:
        import pyg_lib
    except ImportError:
        found = "none"
    else:
        found = pyg_lib.__version__
    expected = SUBJECT["pyg_lib"]
    assert found == expected or found.split("+")[0] == expected, (found, expected)


def check_neighbours_are_sampled() -> None:
    """By pyg-lib."""
    if SUBJECT["pyg_lib"] == "none":
        raise SkipTest("this image has no pyg-lib, as its label says: no package index that has it was reachable")
    batch = next(iter(NeighborLoader(two_groups(), num_neighbors=[5, 5], batch_size=10)))
    assert batch.batch_size == 10
    assert 10 <= batch.num_nodes <= 2 * GROUP
