// What rows read of different nodes, as every kind of processor does it, on policies of few and of many nodes.
#include "ttamer/decide/node_fields.hpp"

#include "check.hpp"
#include "models.hpp"

#include <cstddef>
#include <vector>

using namespace ttamer;

namespace {

void fields_agree(const Policy &policy, const NodeFieldKernels &kernels, const std::vector<std::int32_t> &nodes) {
    BlockFields fields;
    kernels.read(policy.joint_tables(), nodes.data(), nodes.size(), fields);
    bool same = true;
    for (std::size_t k = 0; k < nodes.size(); ++k) {
        const NodeTables &node = policy.at(nodes[k]);
        same = same && fields.lowest[k] == node.lookup.lowest && fields.range[k] == node.lookup.range &&
               fields.cell_shift[k] == node.lookup.cell_shift && fields.first_cell[k] == node.first_cell &&
               fields.first_entry[k] == node.first_entry && fields.worst_key[k] == node.worst_key &&
               fields.only_next[k] == static_cast<std::uint32_t>(node.only_next);
    }
    CHECK(same);
}

// Rows that all stand before their nodes, and one after the other one that stands elsewhere, has stopped or is marked.
void follow_agrees(const Policy &policy, const NodeFieldKernels &kernels, const std::vector<std::int32_t> &nodes) {
    std::vector<StandingRow> rows;
    for (std::size_t k = 0; k < nodes.size(); ++k) {
        rows.push_back(static_cast<StandingRow>(k) << 16 |
                       static_cast<StandingRow>(policy.only_previous(nodes[k]) + 1));
    }
    const auto follow = [&] { return kernels.follow(policy.joint_tables(), nodes.data(), rows.data(), rows.size()); };
    CHECK(follow());
    bool refused = true;
    for (auto &row : rows) {
        const StandingRow good = row;
        for (const StandingRow bad : {good ^ 1U, with_position(good, kStoppedPosition), good | StandingRow{kMark}}) {
            row = bad;
            refused = refused && !follow();
        }
        row = good;
    }
    CHECK(refused);
}

} // namespace

int main() {
    for (const std::int32_t size : {1, 3, 8, 9, 16, 17, 40}) {
        const auto model = test::random_model(Topology::line(size), 4, static_cast<std::uint32_t>(size), false);
        const Policy policy = solve(model, 0.9, true);
        CHECK((policy.joint_tables().columns == nullptr) == (size > 16));
        std::mt19937 random(3);
        for (std::size_t count = 0; count <= kBlock; count += count < 20 ? 1 : 27) {
            std::vector<std::int32_t> nodes;
            for (std::size_t k = 0; k < count; ++k) {
                nodes.push_back(test::below(random, size));
            }
            for (const NodeFieldKernels &kernels : node_field_kernels(policy.joint_tables())) {
                fields_agree(policy, kernels, nodes);
                follow_agrees(policy, kernels, nodes);
            }
        }
    }
    return test::result();
}
